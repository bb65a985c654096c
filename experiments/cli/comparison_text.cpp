#include "experiments/cli/comparison_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "experiments/cli/csv.h"
#include "experiments/cli/text_lines.h"

namespace headscope::experiments::cli {

namespace {

/// Label, mean, interval, lowest..highest, number of runs.
using Row = std::array<std::string, 5>;

struct Block {
    std::string title;
    std::vector<Row> rows;
};

std::string number(double value) {
    if (!std::isfinite(value)) return "-";
    const double size = std::abs(value);
    return size == 0 || (size >= 1e-3 && size < 1e4) ? fmt::format("{:.4f}", value) : fmt::format("{:.2e}", value);
}

Row row_of(const std::string& label, const Estimate& estimate) {
    const std::string runs = fmt::format("n={}", estimate.n);
    const std::string interval =
        estimate.n == 1 ? "one run" : fmt::format("[{}, {}]", number(estimate.low), number(estimate.high));
    return {label, number(estimate.mean), interval,
            fmt::format("{}..{}", number(estimate.minimum), number(estimate.maximum)), runs};
}

/// "lr" of "optimizer.lr", when no other key ends in the same way.
std::vector<std::string> short_keys(const std::vector<std::string>& keys) {
    const auto last = [](const std::string& key) { return key.substr(key.rfind('.') + 1); };
    std::vector<std::string> names;
    for (const std::string& key : keys) {
        const auto alike = std::ranges::count_if(keys, [&](const auto& other) { return last(other) == last(key); });
        names.push_back(alike == 1 ? last(key) : key);
    }
    return names;
}

/// "lr=0.001 num_heads=2"; "-" stands for a key that the config has not.
std::vector<std::string> group_labels(const Comparison& comparison) {
    const std::vector<std::string> keys = short_keys(comparison.differs);
    std::vector<std::string> labels;
    for (const RunGroup& group : comparison.groups) {
        std::vector<std::string> parts;
        for (std::size_t i = 0; i < keys.size(); ++i)
            parts.push_back(fmt::format("{}={}", keys[i], group.values[i].text.empty() ? "-" : group.values[i].text));
        labels.push_back(parts.empty() ? "all" : fmt::format("{}", fmt::join(parts, " ")));
    }
    return labels;
}

std::vector<Block> blocks_of(const Comparison& comparison, const std::vector<std::string>& labels) {
    std::vector<Block> blocks;
    for (const Quantity& quantity : comparison.quantities) {
        const std::string units = quantity.units == "1" ? "" : ", " + quantity.units;
        Block block{quantity.name + units + ": " + quantity.title, {}};
        for (std::size_t i = 0; i < labels.size(); ++i) {
            const Estimate& estimate = comparison.groups[i].quantities.at(quantity.name);
            if (estimate.n == 0) continue;  // the notes say which runs have no number
            block.rows.push_back(row_of(labels[i], estimate));
            if (quantity.is_count) block.rows.back()[2] = "";
        }
        if (!block.rows.empty()) blocks.push_back(std::move(block));
    }
    for (const Quantity& quantity : comparison.quantities) {
        if (std::ranges::find(comparison.paired, quantity.name) == comparison.paired.end()) continue;
        Block differences{fmt::format("{}{}: difference to {}, same seeds", quantity.name,
                                      quantity.units == "1" ? "" : ", " + quantity.units, labels[comparison.baseline]),
                          {}};
        for (std::size_t i = 0; i < labels.size(); ++i) {
            const auto found = comparison.groups[i].differences.find(quantity.name);
            if (found == comparison.groups[i].differences.end() || found->second.n == 0) continue;
            differences.rows.push_back(row_of(labels[i], found->second));
            if (quantity.is_count) differences.rows.back()[2] = "";
        }
        if (!differences.rows.empty()) blocks.push_back(std::move(differences));
    }
    return blocks;
}

std::array<std::size_t, 5> widths_of(const std::vector<Block>& blocks) {
    std::array<std::size_t, 5> widths{};
    for (const Block& block : blocks)
        for (const Row& row : block.rows)
            for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], columns_of(row[i]));
    return widths;
}

/// Columns of a row with two spaces before each piece.
std::size_t line_width(const std::array<std::size_t, 5>& widths) {
    std::size_t sum = 2 * widths.size();
    for (const std::size_t width : widths) sum += width;
    return sum;
}

nlohmann::ordered_json typed(const ConfigValue& value) {
    if (value.text.empty()) return nullptr;
    const auto parsed = nlohmann::ordered_json::parse(value.number ? value.text : "", nullptr, false);
    return parsed.is_number() ? parsed : nlohmann::ordered_json(value.text);
}

nlohmann::ordered_json json_of(const Estimate& estimate) {
    return {{"mean", estimate.mean},   {"low", estimate.low},     {"high", estimate.high},
            {"min", estimate.minimum}, {"max", estimate.maximum}, {"n", estimate.n}};
}

nlohmann::ordered_json json_of(const RunGroup& group, const Comparison& comparison) {
    auto json = nlohmann::ordered_json::object();
    json["values"] = nlohmann::ordered_json::object();
    for (std::size_t i = 0; i < group.values.size(); ++i)
        json["values"][comparison.differs[i]] = typed(group.values[i]);
    json["runs"] = nlohmann::ordered_json::array();
    for (const ComparedRun& run : group.runs) {
        nlohmann::ordered_json one{{"run", run.folder},
                                   {"seed", run.seed},
                                   {"state", run.state.logged},
                                   {"alive", nullptr},
                                   {"step", run.step}};
        if (run.state.alive) one["alive"] = *run.state.alive;
        for (const auto& [name, value] : run.values) one[name] = value;
        json["runs"].push_back(std::move(one));
    }
    json["quantities"] = nlohmann::ordered_json::object();
    for (const Quantity& quantity : comparison.quantities)
        json["quantities"][quantity.name] = json_of(group.quantities.at(quantity.name));
    if (comparison.baseline == 0) {  // under the name that it had before --against
        const auto loss = group.differences.find("eval/loss");
        const bool paired = loss != group.differences.end() && loss->second.n > 0;
        json["difference_to_first"] = paired ? json_of(loss->second) : nlohmann::ordered_json(nullptr);
    }
    json["differences"] = nlohmann::ordered_json::object();
    for (const auto& [name, difference] : group.differences)
        if (difference.n > 0) json["differences"][name] = json_of(difference);
    return json;
}

}  // namespace

std::string to_text(const Comparison& comparison) {
    std::size_t runs = 0;
    for (const RunGroup& group : comparison.groups) runs += group.runs.size();
    std::string head = fmt::format("{} run{}", runs, runs == 1 ? "" : "s");
    if (!comparison.differs.empty())
        head += fmt::format(" in {} groups by {}", comparison.groups.size(), fmt::join(comparison.differs, ", "));
    std::string text = wrapped(head, "", "  ");
    text += wrapped("mean, its 95 % interval over runs (Student's t), lowest..highest, number of runs", "", "  ");
    if (comparison.groups.size() > 1 && !comparison.paired.empty())
        text += wrapped(comparison.baseline == 0 ? "differences are to the first group; --against names another"
                                                 : "differences are to the group that --against names",
                        "", "  ");

    std::vector<std::string> labels = group_labels(comparison);
    std::vector<Block> blocks = blocks_of(comparison, labels);
    if (line_width(widths_of(blocks)) > text_columns) {  // numbers for names, which are said once
        text += "\ngroups\n";
        const std::size_t digits = std::to_string(labels.size()).size();
        for (std::size_t i = 0; i < labels.size(); ++i) {
            const std::string name = padded(std::to_string(i + 1), digits, true);
            text += wrapped(labels[i], "  " + name + "  ", std::string(digits + 4, ' '));
            labels[i] = name;
        }
        blocks = blocks_of(comparison, labels);
    }
    const std::array<std::size_t, 5> widths = widths_of(blocks);
    for (const Block& block : blocks) {
        text += "\n" + wrapped(block.title, "", "  ");
        for (const Row& row : block.rows) {
            for (std::size_t i = 0; i < row.size(); ++i)
                text += "  " + padded(row[i], i + 1 < row.size() ? widths[i] : 0, i == 1);
            text += "\n";
        }
    }
    if (!comparison.notes.empty()) text += "\nnotes\n";
    for (const std::string& note : comparison.notes) text += wrapped(note, "  ", "    ");
    return text;
}

std::string to_json(const Comparison& comparison) {
    nlohmann::ordered_json json;  // NaN becomes null
    json["differs"] = comparison.differs;
    json["baseline"] = comparison.baseline;
    json["groups"] = nlohmann::ordered_json::array();
    for (const RunGroup& group : comparison.groups) json["groups"].push_back(json_of(group, comparison));
    json["notes"] = comparison.notes;
    return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string to_csv(const Comparison& comparison) {
    std::vector<std::string> cells{"folder"};
    cells.insert(cells.end(), comparison.differs.begin(), comparison.differs.end());
    cells.emplace_back("seed");
    for (const Quantity& quantity : comparison.quantities) cells.push_back(quantity.name);
    std::string text = csv_line(cells);
    for (const RunGroup& group : comparison.groups)
        for (const ComparedRun& run : group.runs) {
            cells = {run.folder};
            for (const ConfigValue& value : group.values) cells.push_back(value.text);
            cells.push_back(std::to_string(run.seed));
            for (const Quantity& quantity : comparison.quantities) {
                const auto value = run.values.find(quantity.name);
                cells.push_back(value == run.values.end() ? "" : csv_number(value->second));
            }
            text += csv_line(cells);
        }
    return text;
}

}  // namespace headscope::experiments::cli
