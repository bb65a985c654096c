// The metrics of a log that the table of heads does not show.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "experiments/cli/summary_parts.h"
#include "experiments/cli/text_lines.h"

namespace headscope::experiments::cli {

namespace {

constexpr std::int64_t most_columns = 8;  // of one metric; with more numbers for each head its range is shown
constexpr std::int64_t most_heads = 32;   // with more heads the ranges of all metrics are shown
constexpr std::size_t header_lines = 4;

/// One number for each head. The header's last lines are used first.
struct MetricColumn {
    std::array<std::string, header_lines> header;
    std::vector<std::string> cells{};

    std::size_t width() const {
        std::size_t widest = 0;
        for (const std::string& line : header) widest = std::max(widest, columns_of(line));
        for (const std::string& cell : cells) widest = std::max(widest, columns_of(cell));
        return widest;
    }
};

std::string cell_of(const Metric& metric, double value) {
    if (!std::isfinite(value)) return "-";
    if (value >= 0 && value < static_cast<double>(metric.value_labels.size()))
        return metric.value_labels[static_cast<std::size_t>(value)];
    return fmt::format("{:.4g}", value);
}

/// The name's words, from the bottom line up, the label of the column below them.
std::array<std::string, header_lines> header_of(const std::string& name, const std::string& label) {
    std::vector<std::string> lines;
    for (std::size_t begin = 0; begin <= name.size();) {
        const std::size_t end = std::min(name.find('_', begin), name.size());
        const std::string word = name.substr(begin, end - begin);
        const bool joins = !lines.empty() && lines.back().size() + word.size() < 12;
        if (joins) lines.back() += "_" + word;
        else lines.push_back(word);
        begin = end + 1;
    }
    if (!label.empty()) lines.push_back(label);
    std::array<std::string, header_lines> header;
    for (std::size_t i = 0; i < std::min(lines.size(), header_lines); ++i)
        header[header_lines - 1 - i] = lines[lines.size() - 1 - i];
    return header;
}

/// The size of an axis; 0 when the metric has none of that name.
std::int64_t size_of_axis(const Metric& metric, const std::string& name) {
    const auto found = std::ranges::find(metric.dimensions, name);
    return found == metric.dimensions.end() ? 0
                                            : metric.shape[static_cast<std::size_t>(found - metric.dimensions.begin())];
}

/// A column for each number that a metric has of every head, of pairs of heads the mean over the other ones; none when
/// these are many.
std::vector<MetricColumn> columns_of_metric(const Metric& metric) {
    const std::int64_t heads = size_of_axis(metric, "head"), count = size_of_axis(metric, "layer") * heads;
    const std::int64_t others = std::max<std::int64_t>(size_of_axis(metric, "head_other"), 1);
    const std::int64_t columns = count == 0 ? 0 : static_cast<std::int64_t>(metric.row_size()) / (count * others);
    if (columns == 0 || columns > most_columns || count > most_heads || size_of_axis(metric, "head_later") > 0)
        return {};

    struct Sums {
        std::string label;
        std::vector<double> sum;
        std::vector<std::int64_t> numbers;
    };
    std::vector<Sums> found;
    const std::vector<MetricPlace> places = metric.places();
    for (std::size_t i = 0; i < places.size(); ++i) {
        const MetricPlace& place = places[i];
        auto column = std::ranges::find(found, place.label, &Sums::label);
        if (column == found.end()) {
            const auto rows = static_cast<std::size_t>(count);
            column = found.insert(column, {place.label, std::vector<double>(rows), std::vector<std::int64_t>(rows)});
        }
        if (place.own_pair) continue;
        const auto row = static_cast<std::size_t>(place.layer * heads + place.head);
        column->sum[row] += metric.values[i];
        ++column->numbers[row];
    }
    std::vector<MetricColumn> all;
    for (const Sums& sums : found) {
        MetricColumn column{header_of(metric.name, sums.label)};
        for (std::size_t row = 0; row < sums.sum.size(); ++row)
            column.cells.push_back(cell_of(metric, sums.sum[row] / static_cast<double>(sums.numbers[row])));
        all.push_back(std::move(column));
    }
    return all;
}

/// "composition [layer 2, head 4, ...]: 0.01 to 0.3, mean 0.1".
std::string range_of_metric(const Metric& metric) {
    double sum = 0, low = INFINITY, high = -INFINITY;
    std::int64_t count = 0;
    for (const double value : metric.values) {
        if (!std::isfinite(value)) continue;
        low = std::min(low, value);
        high = std::max(high, value);
        sum += value;
        ++count;
    }
    std::vector<std::string> axes;
    for (std::size_t i = 0; i < metric.shape.size(); ++i)
        axes.push_back(fmt::format("{} {}", metric.dimensions[i], metric.shape[i]));
    const std::string name = fmt::format("{} [{}]: ", metric.name, fmt::join(axes, ", "));
    if (count == 0) return name + "nothing measured";
    return name + fmt::format("{:.4g} to {:.4g}, mean {:.4g}", low, high, sum / static_cast<double>(count));
}

/// Columns side by side, as many as fit, then the next ones.
std::string tables_of(const std::vector<MetricColumn>& columns, std::int64_t heads) {
    std::string text;
    const std::size_t rows = columns.empty() ? 0 : columns.front().cells.size();
    for (std::size_t begin = 0; begin < columns.size();) {
        std::size_t end = begin, width = 5;
        while (end < columns.size() && (end == begin || width + 2 + columns[end].width() <= text_columns))
            width += 2 + columns[end++].width();
        text += "\n";
        for (std::size_t line = 0; line < header_lines; ++line) {
            std::string row = padded(line + 1 == header_lines ? "head" : "", 5, false);
            for (std::size_t i = begin; i < end; ++i)
                row += "  " + padded(columns[i].header[line], columns[i].width(), true);
            if (const std::size_t last = row.find_last_not_of(' '); last != std::string::npos)
                text += row.substr(0, last + 1) + "\n";
        }
        for (std::size_t head = 0; head < rows; ++head) {
            const auto place = static_cast<std::int64_t>(head);
            std::string row = padded(head_name(place / heads, place % heads), 5, false);
            for (std::size_t i = begin; i < end; ++i)
                row += "  " + padded(columns[i].cells[head], columns[i].width(), true);
            text += row + "\n";
        }
        begin = end;
    }
    return text;
}

}  // namespace

std::string other_metrics(const RunSummary& summary) {
    static const std::set<std::string> in_the_table{"grad_norm",          "overlap",    "attention_entropy",
                                                    "attention_distance", "importance", "role"};
    std::vector<MetricColumn> columns;
    std::string ranges;
    std::int64_t heads = 0;
    for (const Metric& metric : summary.metrics) {
        if (in_the_table.contains(metric.name)) continue;
        std::vector<MetricColumn> own = columns_of_metric(metric);
        if (own.empty()) ranges += wrapped(range_of_metric(metric), "  ", "    ");
        else heads = size_of_axis(metric, "head");
        for (MetricColumn& column : own) columns.push_back(std::move(column));
    }
    std::string text = tables_of(columns, heads);
    const bool pairs = std::ranges::any_of(summary.metrics, [](const Metric& metric) {
        return !in_the_table.contains(metric.name) && metric.dimensions.back() == "head_other";
    });
    if (!text.empty() && pairs) text += "\nMetrics of pairs of heads: the mean over the layer's other heads.\n";
    if (!ranges.empty()) text += "\nother metrics, each with its range (--json has every number)\n" + ranges;
    return text;
}

}  // namespace headscope::experiments::cli
