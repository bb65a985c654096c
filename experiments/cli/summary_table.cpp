// The heads of a run, a row each.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "experiments/cli/sparkline.h"
#include "experiments/cli/summary_parts.h"
#include "experiments/cli/text_lines.h"

namespace headscope::experiments::cli {

namespace {

/// A column: three lines of header, and a cell for each head, "-" where nothing was measured.
struct TableColumn {
    std::array<std::string, 3> header;  ///< of what, what, unit
    bool left = false;                  ///< at the left edge of the column; else at the right
    bool hangs = false;                 ///< the first line of the header also stands over the next column
    std::vector<std::string> cells{};

    std::size_t width(bool with_first_line) const {
        std::size_t widest = std::max(columns_of(header[1]), columns_of(header[2]));
        if (with_first_line && !hangs) widest = std::max(widest, columns_of(header[0]));
        for (const std::string& cell : cells) widest = std::max(widest, columns_of(cell));
        return widest;
    }
};

bool nothing_measured(const TableColumn& column) {
    return std::ranges::all_of(column.cells, [](const std::string& cell) { return cell == "-"; });
}

/// "0.0671 ▁▂▃▄▅▆▇█▁▂", in 17 columns.
std::string gradient_history(const HeadRow& row) {
    const bool measured = std::ranges::any_of(row.grad_norm_history, [](double norm) { return std::isfinite(norm); });
    if (!measured) return "-";
    const std::string line = padded(sparkline(row.grad_norm_history), sparkline_columns, false);
    return fmt::format("{:>6} {}", positive_cell(row.grad_norm_total), line);
}

/// The overlap farthest from its null, in z, its projection and z: "v 0.332  +9.2", brief "+9.2v"; z stops at 999.
std::string overlap_cell(const HeadRow& row, bool brief) {
    std::string cell = "-";
    double farthest = -1;
    for (std::size_t p = 0; p < projection_names.size(); ++p) {
        const double z = row.overlap_z[p];
        if (!std::isfinite(z) || std::abs(z) <= farthest) continue;
        farthest = std::abs(z);
        const double shown = std::clamp(z, -999.0, 999.0);
        const std::string distance = fmt::format("{:+.{}f}", shown, std::abs(shown) < 99.95 ? 1 : 0);
        cell = brief ? distance + projection_names[p]
                     : fmt::format("{} {:.3f} {:>5}", projection_names[p], row.overlap[p], distance);
    }
    return cell;
}

/// What the columns that need it say, under the table.
std::string legend(const RunSummary& summary) {
    const bool overlaps =
        std::ranges::any_of(summary.heads, [](const HeadRow& row) { return overlap_cell(row, true) != "-"; });
    if (!overlaps) return "";
    return "\n" +
           wrapped(
               fmt::format(
                   "overlap: mean over the layer's other heads, of the projection (q, k, v, o) that is farthest from "
                   "random heads. Two of those overlap by {:.3f} +- {:.3f}, and z is the difference in "
                   "standard deviations.",
                   summary.overlap_null_mean, summary.overlap_null_std),
               "", "  ");
}

/// In at most seven columns.
std::string number_cell(double value, int decimals) {
    if (!std::isfinite(value)) return "-";
    return std::abs(value) < 1e4 ? fmt::format("{:.{}f}", value, decimals) : fmt::format("{:.0e}", value);
}

std::string signed_cell(double value) {
    if (!std::isfinite(value)) return "-";
    if (std::abs(value) >= 1000) return fmt::format("{:+.0e}", value);
    return std::abs(value) < 10 ? fmt::format("{:+.4f}", value) : fmt::format("{:+.2f}", value);
}

std::vector<TableColumn> measured_columns(const RunSummary& summary, bool brief) {
    TableColumn name{.header = {"", "head", ""}, .left = true};
    TableColumn role{.header = {"", "role", ""}, .left = true};
    TableColumn gradient{.header = {"gradient norm", "   now history", "     1"}, .left = true};
    TableColumn overlap{.header = {"overlap", brief ? "z" : "mean     z", brief ? "1" : "1     1"}};
    TableColumn entropy{.header = {"attention", "entropy", "nat"}};
    TableColumn distance{.header = {"attention", "distance", "tokens"}};
    TableColumn importance{.header = {"importance", "", "nat"}};
    TableColumn ablation{.header = {"ablation", "delta", "nat"}};
    for (const HeadRow& row : summary.heads) {
        name.cells.push_back(head_name(row.layer, row.head));
        role.cells.push_back(row.role.empty() ? "-" : row.role);
        gradient.cells.push_back(gradient_history(row));
        overlap.cells.push_back(overlap_cell(row, brief));
        entropy.cells.push_back(number_cell(row.entropy, 3));
        distance.cells.push_back(number_cell(row.distance, 2));
        importance.cells.push_back(positive_cell(row.importance));
        ablation.cells.push_back(signed_cell(row.ablation[0]));
    }
    if (!nothing_measured(entropy) && !nothing_measured(distance)) {
        entropy.hangs = true;
        distance.header[0].clear();
    }
    std::vector<TableColumn> columns{name};
    for (TableColumn* column : {&role, &gradient, &overlap, &entropy, &distance, &importance, &ablation})
        if (!nothing_measured(*column)) columns.push_back(std::move(*column));
    return columns;
}

/// Where each column begins and ends.
struct Span {
    std::size_t begin, end;
};

std::vector<Span> place(const std::vector<TableColumn>& columns, std::size_t gap, bool with_first_line) {
    std::vector<Span> spans;
    for (const TableColumn& column : columns) {
        const std::size_t begin = spans.empty() ? 0 : spans.back().end + gap;
        spans.push_back({begin, begin + column.width(with_first_line)});
    }
    return spans;
}

/// The texts at the edges of their columns; a header that is too wide reaches out over the other edge.
std::string line_of(const std::vector<TableColumn>& columns, const std::vector<Span>& spans,
                    const std::vector<std::string>& texts) {
    std::string line;
    for (std::size_t i = 0; i < columns.size(); ++i) {
        if (texts[i].empty()) continue;
        const std::size_t width = columns_of(texts[i]);
        const bool too_wide = width > spans[i].end - spans[i].begin;
        const bool left = columns[i].left || (columns[i].hangs && too_wide);
        line = padded(line, left ? spans[i].begin : spans[i].end - width, false) + texts[i];
    }
    return line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
}

}  // namespace

std::string head_table(const RunSummary& summary) {
    std::vector<TableColumn> columns;
    std::vector<Span> spans;
    const auto fits = [&](bool brief, std::size_t gap, bool with_first_line) {
        columns = measured_columns(summary, brief);
        spans = place(columns, gap, with_first_line);
        return spans.back().end <= text_columns;
    };
    fits(false, 2, true) || fits(false, 1, true) || fits(false, 1, false) || fits(true, 1, false);

    std::string text = "\n";
    std::vector<std::string> texts(columns.size());
    for (std::size_t line = 0; line < 3; ++line) {
        std::ranges::transform(columns, texts.begin(), [&](const TableColumn& one) { return one.header[line]; });
        if (const std::string header = line_of(columns, spans, texts); header != "\n") text += header;
    }
    for (std::size_t head = 0; head < summary.heads.size(); ++head) {
        std::ranges::transform(columns, texts.begin(), [&](const TableColumn& one) { return one.cells[head]; });
        text += line_of(columns, spans, texts);
    }
    return text + legend(summary);
}

}  // namespace headscope::experiments::cli
