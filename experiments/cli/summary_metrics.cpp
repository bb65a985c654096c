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

/// The places of the axes `layer` and `head` among the metric's dimensions.
struct HeadAxes {
    explicit HeadAxes(const Metric& metric)
        : layer(std::ranges::find(metric.dimensions, "layer") - metric.dimensions.begin()),
          head(std::ranges::find(metric.dimensions, "head") - metric.dimensions.begin()),
          both(layer < std::ssize(metric.dimensions) && head < std::ssize(metric.dimensions)) {}
    std::ptrdiff_t layer, head;
    bool both;
};

/// Heads of all layers that the metric is about.
std::int64_t head_count(const Metric& metric, const HeadAxes& axes) {
    return metric.shape[static_cast<std::size_t>(axes.layer)] * metric.shape[static_cast<std::size_t>(axes.head)];
}

/// The metric as it is, or of pairs of heads each head's mean over the others.
Metric without_pairs(Metric metric) {
    const auto other = std::ranges::find(metric.dimensions, "head_other");
    const HeadAxes axes(metric);
    if (other == metric.dimensions.end() || !axes.both) return metric;
    const auto axis = static_cast<std::size_t>(other - metric.dimensions.begin());
    const auto size = static_cast<std::size_t>(metric.shape[axis]);
    std::size_t stride = 1;  // between neighbours on that axis
    for (std::size_t i = axis + 1; i < metric.shape.size(); ++i) stride *= static_cast<std::size_t>(metric.shape[i]);
    std::size_t head_stride = 1;
    for (auto i = static_cast<std::size_t>(axes.head) + 1; i < metric.shape.size(); ++i)
        head_stride *= static_cast<std::size_t>(metric.shape[i]);
    std::vector<double> means;
    for (std::size_t i = 0; i < metric.values.size(); ++i) {
        if (i / stride % size != 0) continue;
        const std::size_t head =
            i / head_stride % static_cast<std::size_t>(metric.shape[static_cast<std::size_t>(axes.head)]);
        double sum = 0;
        for (std::size_t j = 0; j < size; ++j)
            if (j != head) sum += metric.values[i + j * stride];
        means.push_back(size < 2 ? NAN : sum / static_cast<double>(size - 1));
    }
    metric.values = std::move(means);
    metric.dimensions.erase(other);
    metric.shape.erase(metric.shape.begin() + static_cast<std::ptrdiff_t>(axis));
    metric.labels.erase(metric.labels.begin() + static_cast<std::ptrdiff_t>(axis));
    return metric;
}

/// A column for each number that a metric has of every head; none when these are many.
std::vector<MetricColumn> columns_of_metric(const Metric& logged) {
    if (std::ranges::find(logged.dimensions, "head_later") != logged.dimensions.end()) return {};
    const Metric metric = without_pairs(logged);
    const HeadAxes axes(metric);
    if (!axes.both || metric.values.empty()) return {};
    const std::int64_t count = head_count(metric, axes);
    if (count > most_heads || static_cast<std::int64_t>(metric.values.size()) > most_columns * count) return {};
    const auto heads = metric.shape[static_cast<std::size_t>(axes.head)];
    std::vector<MetricColumn> columns;
    for (std::size_t index = 0; index < metric.values.size(); ++index) {
        std::size_t rest = index, column = 0, stride = 1;
        std::int64_t layer = 0, head = 0;
        std::string label;
        for (std::ptrdiff_t axis = std::ssize(metric.shape) - 1; axis >= 0; --axis) {
            const auto place = static_cast<std::size_t>(axis), size = static_cast<std::size_t>(metric.shape[place]);
            const std::size_t at = rest % size;
            rest /= size;
            if (axis == axes.layer) layer = static_cast<std::int64_t>(at);
            else if (axis == axes.head) head = static_cast<std::int64_t>(at);
            else {
                const std::string own = metric.labels[place].empty() ? std::to_string(at) : metric.labels[place][at];
                label = own + (label.empty() ? "" : " " + label);
                column += at * stride;
                stride *= size;
            }
        }
        if (columns.size() <= column) columns.resize(column + 1);
        MetricColumn& own = columns[column];
        own.cells.resize(static_cast<std::size_t>(count));
        own.cells[static_cast<std::size_t>(layer * heads + head)] = cell_of(metric, metric.values[index]);
        own.header = header_of(metric.name, label);
    }
    return columns;
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
        const HeadAxes axes(metric);
        std::vector<MetricColumn> own = columns_of_metric(metric);
        if (own.empty()) ranges += wrapped(range_of_metric(metric), "  ", "    ");
        else heads = metric.shape[static_cast<std::size_t>(axes.head)];
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
