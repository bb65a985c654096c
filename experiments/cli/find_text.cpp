#include "experiments/cli/find_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "experiments/cli/csv.h"
#include "experiments/cli/text_lines.h"

namespace headscope::experiments::cli {

namespace {

/// Run, head, first step, last step, at the end, rows.
using FoundLine = std::array<std::string, 6>;

/// "7", or "7 to 13" when runs differ.
std::string count_in_runs(const FoundHeads& found, auto&& count_of) {
    std::int64_t least = count_of(found.runs.front()), most = least;
    for (const SearchedRun& run : found.runs) {
        least = std::min(least, count_of(run));
        most = std::max(most, count_of(run));
    }
    return least == most ? fmt::format("{}", least) : fmt::format("{} to {}", least, most);
}

/// Which rows, and why these.
std::string what_was_looked_at(const FoundHeads& found) {
    const std::string rows =
        count_in_runs(found, [](const SearchedRun& run) { return static_cast<std::int64_t>(run.steps.size()); });
    const char* const each = found.runs.size() == 1 ? "" : " in each run";
    if (found.metrics.size() == 1)
        return fmt::format("looked at all rows of {}, the metric of the condition: {}{}", found.metrics[0], rows, each);
    std::vector<std::string> metrics;
    for (std::size_t i = 0; i < found.metrics.size(); ++i)
        metrics.push_back(fmt::format("{} ({} rows)", found.metrics[i],
                                      count_in_runs(found, [i](const SearchedRun& run) { return run.rows[i]; })));
    return fmt::format("looked at the steps that all metrics of the condition have, {}: {}{}", fmt::join(metrics, ", "),
                       rows, each);
}

std::vector<FoundLine> lines_of(const FoundHeads& found, const std::vector<std::string>& names) {
    std::vector<FoundLine> lines{{"run", "head", "first", "last", "at the end", "rows"}};
    for (std::size_t i = 0; i < found.runs.size(); ++i)
        for (const FoundHead& head : found.runs[i].found)
            lines.push_back({names[i], fmt::format("{}.{}", head.layer, head.head), fmt::format("{}", head.first),
                             fmt::format("{}", head.last), head.at_end ? "yes" : "no",
                             fmt::format("{} of {}", head.rows, found.runs[i].steps.size())});
    return lines;
}

/// In columns, two spaces between.
std::string table_of(const std::vector<FoundLine>& lines) {
    std::array<std::size_t, 6> widths{};
    for (const FoundLine& line : lines)
        for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], columns_of(line[i]));
    std::string text;
    for (const FoundLine& line : lines) {
        for (std::size_t i = 0; i < line.size(); ++i) {
            const bool is_number = i == 2 || i == 3;
            text += (i == 0 ? "" : "  ") + padded(line[i], i + 1 < line.size() ? widths[i] : 0, is_number);
        }
        text += "\n";
    }
    return text;
}

std::size_t widest_line(const std::string& text) {
    std::size_t widest = 0, begin = 0;
    for (std::size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1)
        widest = std::max(widest, columns_of(text.substr(begin, end - begin)));
    return widest;
}

}  // namespace

std::string count_found(const FoundHeads& found) {
    return fmt::format("{} of {} heads in {} of {} run{}", found.heads_found(), found.heads(), found.runs_found(),
                       found.runs.size(), found.runs.size() == 1 ? "" : "s");
}

std::string to_text(const FoundHeads& found) {
    std::string text = wrapped(found.condition, "", "  ") + wrapped(what_was_looked_at(found), "", "  ");
    if (found.heads_found() > 0) {
        std::vector<std::string> names;
        for (const SearchedRun& run : found.runs) names.push_back(run.folder);
        std::string table = table_of(lines_of(found, names));
        if (widest_line(table) > text_columns) {  // numbers for folders, which are said once
            text += "\nruns\n";
            const std::size_t digits = std::to_string(names.size()).size();
            for (std::size_t i = 0; i < names.size(); ++i) {
                const std::string number = padded(std::to_string(i + 1), digits, true);
                if (!found.runs[i].found.empty())
                    text += wrapped(names[i], "  " + number + "  ", std::string(digits + 4, ' '));
                names[i] = number;
            }
            table = table_of(lines_of(found, names));
        }
        text += "\n" + table;
    }
    text += "\n" + count_found(found) + "\n";
    if (!found.notes.empty()) text += "\nnotes\n";
    for (const std::string& note : found.notes) text += wrapped(note, "  ", "    ");
    return text;
}

std::string to_json(const FoundHeads& found) {
    using Json = nlohmann::ordered_json;
    Json json{{"condition", found.condition}, {"metrics", found.metrics}, {"runs", Json::array()}};
    for (const SearchedRun& run : found.runs) {
        Json one{{"run", run.folder},
                 {"seed", run.seed},
                 {"state", run.state.logged},
                 {"alive", run.state.alive ? Json(*run.state.alive) : Json()},
                 {"step", run.step},
                 {"heads", run.heads},
                 {"rows", run.steps.size()},
                 {"first_row", run.steps.front()},
                 {"last_row", run.steps.back()},
                 {"found", Json::array()}};
        for (const FoundHead& head : run.found)
            one["found"].push_back({{"layer", head.layer},
                                    {"head", head.head},
                                    {"first", head.first},
                                    {"last", head.last},
                                    {"at_end", head.at_end},
                                    {"rows", head.rows}});
        json["runs"].push_back(std::move(one));
    }
    json["heads_found"] = found.heads_found();
    json["heads"] = found.heads();
    json["runs_found"] = found.runs_found();
    json["notes"] = found.notes;
    return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

std::string to_csv(const FoundHeads& found) {
    std::string text = csv_line({"folder", "seed", "layer", "head", "first", "last", "at_end", "rows"});
    for (const SearchedRun& run : found.runs)
        for (const FoundHead& head : run.found)
            text += csv_line({run.folder, std::to_string(run.seed), std::to_string(head.layer),
                              std::to_string(head.head), std::to_string(head.first), std::to_string(head.last),
                              head.at_end ? "true" : "false", std::to_string(head.rows)});
    return text;
}

}  // namespace headscope::experiments::cli
