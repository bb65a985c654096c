#include "experiments/config/sweep_section.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

#include "experiments/base/errors.h"
#include "experiments/config/field_text.h"

namespace headscope::experiments {

namespace {

constexpr std::string_view dots = "..";

std::string trimmed(const std::string& text) {
    const std::size_t first = text.find_first_not_of(" \t"), last = text.find_last_not_of(" \t");
    return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}

/// At the commas that stand in no brackets and quotes.
std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> parts(1);
    int depth = 0;
    char quote = '\0';
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (quote != '\0') {
            if (c == '\\' && quote == '"' && i + 1 < text.size()) parts.back() += text[i++];
            else if (c == quote) quote = '\0';
        } else if (c == '"' || c == '\'') {
            quote = c;
        } else if (c == '[' || c == '{') {
            ++depth;
        } else if (c == ']' || c == '}') {
            --depth;
        } else if (c == ',' && depth == 0) {
            parts.emplace_back();
            continue;
        }
        parts.back() += text[i];
    }
    for (std::string& part : parts) part = trimmed(part);
    return parts;
}

std::optional<std::int64_t> integer(std::string_view text) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

/// "0..4": digits (with a sign) and two dots. A path such as "../data" is none.
bool is_range(const std::string& text) {
    const std::size_t found = text.find(dots);
    return found != std::string::npos && found > 0 && integer(std::string_view(text).substr(0, found));
}

std::vector<std::string> range_values(const std::string& text) {
    constexpr std::int64_t most = 100000;
    const std::size_t first_dots = text.find(dots), second_dots = text.find(dots, first_dots + dots.size());
    const std::string_view all = text;
    const bool with_step = second_dots != std::string::npos;
    const auto first = integer(all.substr(0, first_dots));
    const auto last = integer(all.substr(first_dots + 2, with_step ? second_dots - first_dots - 2 : all.npos));
    const auto step = with_step ? integer(all.substr(second_dots + 2)) : std::optional<std::int64_t>(1);
    if (!first || !last || !step || *step <= 0 || *last < *first)
        throw UsageError(
            fmt::format("{}: is no range; 0..4 are the integers from 0 to 4, 0..100..20 those in steps of "
                        "20; other numbers are listed, 1e-4,1e-3",
                        text));
    const std::uint64_t span = static_cast<std::uint64_t>(*last) - static_cast<std::uint64_t>(*first);
    if (span / static_cast<std::uint64_t>(*step) >= most)
        throw UsageError(fmt::format("{}: has more than {} values", text, most));
    std::vector<std::string> values;
    for (std::uint64_t at = 0; at <= span; at += static_cast<std::uint64_t>(*step))
        values.push_back(fmt::format("{}", *first + static_cast<std::int64_t>(at)));
    return values;
}

/// A value of the table as one would type it after "key=".
std::string typed(const TomlValue& value, bool inside) {
    const auto join = [](const TomlValue& of, auto&& each) {
        std::string text;
        for (const TomlValue& item : of.items) text += (text.empty() ? "" : ", ") + each(item);
        return text;
    };
    switch (value.kind) {
        case TomlValue::Kind::list:
            return fmt::format("[{}]", join(value, [](const TomlValue& item) { return typed(item, true); }));
        case TomlValue::Kind::table:
            return fmt::format("{{{}}}",
                               join(value, [](const TomlValue& item) { return item.key + " = " + typed(item, true); }));
        case TomlValue::Kind::text: {
            const bool word =
                !value.text.empty() &&
                std::ranges::all_of(value.text,
                                    [](unsigned char c) {
                                        return std::isalnum(c) != 0 || c == '_' || c == '/' || c == '-' || c == '.';
                                    }) &&
                std::isalpha(static_cast<unsigned char>(value.text[0])) != 0 && value.text != "true" &&
                value.text != "false" && value.text != "inf" && value.text != "nan";
            return word && !inside ? value.text : quoted(value.text);
        }
        default: return spell(value);
    }
}

void add_values(const TomlValue& value, std::vector<std::string>& values, Problems& problems) {
    try {
        if (value.kind == TomlValue::Kind::text && is_range(value.text)) values = range_values(value.text);
        else if (value.kind == TomlValue::Kind::list)
            for (const TomlValue& item : value.items) values.push_back(typed(item, false));
        else values.push_back(typed(value, false));
    } catch (const UsageError& error) {
        problems.add(value.place, error.what());
    }
}

void add_axes(const TomlValue& table, const std::string& before, SweepSection& section, Problems& problems) {
    for (const TomlValue& item : table.items) {
        const std::string key = before + item.key;
        if (key == "zip") {
            if (item.kind == TomlValue::Kind::boolean) section.zip = item.boolean;
            else problems.add(item.place, fmt::format("sweep.zip must be true or false, got {}", describe(item)));
        } else if (item.kind == TomlValue::Kind::table) {
            add_axes(item, key + ".", section, problems);
        } else {
            section.axes.push_back({key, {}});
            add_values(item, section.axes.back().values, problems);
            if (section.axes.back().values.empty())
                problems.add(item.place, fmt::format("sweep.{} has no values", key));
        }
    }
}

}  // namespace

SweepSection take_sweep_section(TomlValue& root, Problems& problems) {
    SweepSection section;
    const auto found = std::ranges::find(root.items, "sweep", &TomlValue::key);
    if (found == root.items.end()) return section;
    if (found->kind != TomlValue::Kind::table)
        problems.add(found->place, fmt::format("sweep must be a table, written [sweep], got {}", describe(*found)));
    else add_axes(*found, "", section, problems);
    root.items.erase(found);
    return section;
}

bool is_sweep_of_values(const std::string& text) { return split(text).size() > 1 || is_range(trimmed(text)); }

std::vector<std::string> sweep_values(const std::string& text) {
    std::vector<std::string> values;
    for (const std::string& part : split(text)) {
        if (part.empty()) throw UsageError(fmt::format("{}: has a comma with no value beside it", text));
        if (!is_range(part)) values.push_back(part);
        else
            for (std::string& value : range_values(part)) values.push_back(std::move(value));
    }
    return values;
}

}  // namespace headscope::experiments
