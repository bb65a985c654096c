#include "experiments/config/document.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <string_view>
#include <tuple>

#include "experiments/base/errors.h"

namespace headscope::experiments {

void Problems::raise() const {
    if (list_.empty()) return;
    std::vector<Problem> sorted = list_;
    std::stable_sort(sorted.begin(), sorted.end(), [](const Problem& a, const Problem& b) {
        return std::tie(a.place.source, a.place.line, a.place.column) <
               std::tie(b.place.source, b.place.line, b.place.column);
    });
    std::string message;
    for (std::size_t i = 0; i < std::min(sorted.size(), shown); ++i)
        message += (i == 0 ? "" : "\n") + sorted[i].place.text + ": " + sorted[i].message;
    if (sorted.size() > shown) message += fmt::format("\nand {} more problems like these", sorted.size() - shown);
    throw UsageError(message);
}

const TomlValue* TomlValue::find(const std::string& name) const {
    for (const TomlValue& item : items) {
        if (item.key == name) return &item;
    }
    return nullptr;
}

TomlValue* TomlValue::find(const std::string& name) { return const_cast<TomlValue*>(std::as_const(*this).find(name)); }

std::string describe(const TomlValue& value) {
    switch (value.kind) {
        case TomlValue::Kind::integer: return fmt::format("the integer {}", value.integer);
        case TomlValue::Kind::real: return fmt::format("the number {}", spell(value));
        case TomlValue::Kind::boolean: return value.boolean ? "true" : "false";
        case TomlValue::Kind::text: return fmt::format("the string \"{}\"", value.text);
        case TomlValue::Kind::date: return "a date";
        case TomlValue::Kind::list: return "a list";
        case TomlValue::Kind::table: return "a table";
        case TomlValue::Kind::unset: return "nothing";
    }
    return {};
}

std::string spell(const TomlValue& value) {
    switch (value.kind) {
        case TomlValue::Kind::integer: return fmt::format("{}", value.integer);
        case TomlValue::Kind::real: {
            const std::string digits = fmt::format("{}", value.real);
            const bool plain = std::isfinite(value.real) && digits.find_first_of(".e") == std::string::npos;
            return plain ? digits + ".0" : digits;
        }
        case TomlValue::Kind::boolean: return value.boolean ? "true" : "false";
        case TomlValue::Kind::text: return value.text;
        case TomlValue::Kind::date:
        case TomlValue::Kind::list:
        case TomlValue::Kind::table: return "...";
        case TomlValue::Kind::unset: return "";
    }
    return {};
}

namespace {

SourcePosition place_of(const toml::source_region& region, const std::string& path) {
    const std::uint32_t line = std::max<std::uint32_t>(1, region.begin.line);
    const std::uint32_t column = std::max<std::uint32_t>(1, region.begin.column);
    return {0, line, column, fmt::format("{}:{}:{}", path, line, column)};
}

bool before(const TomlValue& a, const TomlValue& b) {
    return std::tie(a.key_place.line, a.key_place.column) < std::tie(b.key_place.line, b.key_place.column);
}

/// What is wrong with digits that are beyond the numbers of their kind: "1e400 is beyond the largest number, 1.79...".
/// Empty when a number stands for them, or they are no digits.
std::string beyond_numbers(std::string_view text) {
    std::string digits;
    std::ranges::copy_if(text, std::back_inserter(digits), [](char c) { return c != '_'; });
    if (!digits.empty() && digits.front() == '+') digits.erase(0, 1);
    if (digits.empty() || digits.find_first_not_of("0123456789.eE+-") != std::string::npos) return {};
    const char* const end = digits.data() + digits.size();
    if (digits.find_first_of(".eE") == std::string::npos) {
        std::int64_t integer = 0;
        const auto [stop, error] = std::from_chars(digits.data(), end, integer);
        if (stop != end || error != std::errc::result_out_of_range) return {};
        const bool negative = digits.front() == '-';
        using Limits = std::numeric_limits<std::int64_t>;
        return fmt::format("{} is beyond the {} integer, {}", text, negative ? "smallest" : "largest",
                           negative ? Limits::min() : Limits::max());
    }
    double real = 0;
    const auto [stop, error] = std::from_chars(digits.data(), end, real);
    if (stop != end || error != std::errc::result_out_of_range) return {};
    using Limits = std::numeric_limits<double>;
    if (std::abs(std::strtod(digits.c_str(), nullptr)) > 1)
        return fmt::format("{} is beyond the largest number, {}", text, Limits::max());
    return fmt::format("{} is closer to 0 than the smallest number, {}; write 0 if that is meant", text,
                       Limits::denorm_min());
}

/// The digits that stand at a line and column, which counts characters; both from 1.
std::string_view digits_at(std::string_view text, const toml::source_position& position) {
    for (std::uint32_t line = 1; line < position.line; ++line) {
        const std::size_t end = text.find('\n');
        if (end == std::string_view::npos) return {};
        text.remove_prefix(end + 1);
    }
    const auto continues = [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; };  // of UTF-8
    for (std::uint32_t column = 1; column < position.column && !text.empty(); ++column) {
        text.remove_prefix(1);
        while (!text.empty() && continues(text.front())) text.remove_prefix(1);
    }
    return text.substr(0, std::min(text.find_first_not_of("0123456789.eE+-_"), text.size()));
}

/// `text` is the document that the node was read from.
TomlValue convert(const toml::node& node, const std::string& path, std::string_view text) {
    TomlValue value;
    value.place = place_of(node.source(), path);
    if (const auto* table = node.as_table()) {
        for (const auto& [key, child] : *table) {
            TomlValue item = convert(child, path, text);
            item.key = std::string(key.str());
            item.key_place = place_of(key.source(), path);
            // A [table] begins at its bracket; its key is inside, possibly behind dots.
            if (item.kind == TomlValue::Kind::table) item.place = item.key_place;
            value.items.push_back(std::move(item));
        }
        std::stable_sort(value.items.begin(), value.items.end(), before);
    } else if (const auto* array = node.as_array()) {
        value.kind = TomlValue::Kind::list;
        for (const toml::node& child : *array) value.items.push_back(convert(child, path, text));
    } else if (const auto* string = node.as_string()) {
        value.kind = TomlValue::Kind::text;
        value.text = string->get();
    } else if (const auto* integer = node.as_integer()) {
        value.kind = TomlValue::Kind::integer;
        value.integer = integer->get();
    } else if (const auto* real = node.as_floating_point()) {
        value.kind = TomlValue::Kind::real;
        value.real = real->get();
        // The library reads 1e-400 as 0.
        if (value.real == 0) value.not_a_number = beyond_numbers(digits_at(text, node.source().begin));
    } else if (const auto* boolean = node.as_boolean()) {
        value.kind = TomlValue::Kind::boolean;
        value.boolean = boolean->get();
    } else {
        value.kind = TomlValue::Kind::date;
    }
    return value;
}

std::string trimmed(std::string_view text) {
    const auto first = text.find_first_not_of(" \t");
    if (first == std::string_view::npos) return {};
    return std::string(text.substr(first, text.find_last_not_of(" \t") - first + 1));
}

// The library walks a tree of tables by recursion, and has no bound on the parts of a key: "a.a.a.a..." would overflow
// the stack.
bool has_endless_key(std::string_view text) {
    constexpr int longest = 100;
    int dots = 0;
    for (std::size_t i = 1; i < text.size(); ++i) {
        if (text[i] == '\n' || text[i] == '=' || text[i] == ',' || text[i] == '#') dots = 0;
        else if (text[i] == '.' && text[i - 1] != '.' && ++dots > longest) return true;
    }
    return false;
}

// "a.b.'c d'" -> {a, b, c d}: what TOML makes of it; empty when it is not a key.
std::vector<std::string> split_key(const std::string& key) {
    std::vector<std::string> parts;
    if (has_endless_key(key)) return parts;
    try {
        const toml::table document = toml::parse(key + " = 0");
        for (const toml::table* table = &document; table != nullptr;) {
            if (table->size() != 1) return {};
            parts.emplace_back(table->begin()->first.str());
            table = table->begin()->second.as_table();
        }
    } catch (const toml::parse_error&) {
        return {};
    }
    return parts;
}

bool is_utf8(const std::string& text) {
    try {
        // A comment may hold any character but control characters, which are asked about elsewhere.
        std::string comment = "# " + text;
        std::replace_if(
            comment.begin(), comment.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, ' ');
        return toml::parse(comment).empty();
    } catch (const toml::parse_error&) {
        return false;
    }
}

TomlValue parse_value(const std::string& raw, const SourcePosition& place) {
    TomlValue value;
    std::string error;
    try {
        if (has_endless_key(raw)) throw toml::parse_error("a key of more than 100 parts", toml::source_position{});
        const std::string text = "value = " + raw;
        const toml::table document = toml::parse(text);
        const toml::node* node = document.size() == 1 ? document.get("value") : nullptr;
        if (node != nullptr) value = convert(*node, {}, text);
        else error = "more than one value";
    } catch (const toml::parse_error& problem) {
        error = std::string(problem.description());
    }
    if (!error.empty()) {
        value.kind = TomlValue::Kind::text;
        value.text = raw;
        value.syntax_error = error;
        value.not_a_number = beyond_numbers(raw);
    }
    value.raw = raw;
    // Whatever is wrong inside, the command line is the place.
    const auto settle = [&place](auto&& self, TomlValue& part) -> void {
        part.place = part.key_place = place;
        part.from_override = true;
        for (TomlValue& item : part.items) self(self, item);
    };
    settle(settle, value);
    return value;
}

}  // namespace

TomlValue parse_document(const std::string& text, const std::string& path, Problems& problems) {
    if (has_endless_key(text)) {
        problems.add({0, 1, 1, path}, "not a config: it has a key of more than 100 parts");
        return {};
    }
    try {
        TomlValue root = convert(toml::parse(text), path, text);
        root.place = root.key_place = {0, 1, 1, path + ":1:1"};
        return root;
    } catch (const toml::parse_error& error) {
        // "Error while parsing floating-point: '1e400' could not be ..."
        const std::string_view description = error.description();
        const std::size_t quote = description.find('\'');
        const std::string_view quoted =
            quote == std::string_view::npos
                ? ""
                : description.substr(quote + 1, description.find('\'', quote + 1) - quote - 1);
        const std::string number = beyond_numbers(quoted);
        problems.add(place_of(error.source(), path),
                     number.empty() ? fmt::format("not TOML: {}", description) : number);
        return {};
    }
}

namespace {

// "window" -> {type = "window"}
void become_table(TomlValue& text) {
    TomlValue table;
    table.key = text.key;
    table.key_place = text.key_place;
    table.place = text.place;
    text.key = "type";
    table.items.push_back(std::move(text));
    text = std::move(table);
}

/// What "key=" leaves.
TomlValue unset_at(const SourcePosition& place) {
    TomlValue value;
    value.kind = TomlValue::Kind::unset;
    value.place = value.key_place = place;
    value.from_override = true;
    return value;
}

/// Keeps what later messages say of the file's value that `value` replaces.
void remember(const TomlValue& existing, TomlValue& value) {
    value.replaces = true;
    if (existing.kind == TomlValue::Kind::text) value.replaced_text = existing.text;
    for (const TomlValue& item : existing.items) {
        if (item.key == "type") value.replaced_text = item.text;
        else value.replaced_keys.push_back(item.key);
    }
}

void apply_override(TomlValue& root, const std::string& override_text, int source,
                    const std::vector<std::string>& typed, Problems& problems) {
    const SourcePosition place{source, 1, 1, "command line: " + override_text};
    const auto equals = override_text.find('=');
    if (!is_utf8(override_text)) return problems.add(place, "is not valid UTF-8");
    if (equals == std::string::npos) {
        return problems.add(place, "not a setting; write key=value, for example model.d_model=32");
    }
    const std::vector<std::string> keys = split_key(trimmed(override_text.substr(0, equals)));
    if (keys.empty()) return problems.add(place, "what stands before = is not a key such as model.d_model");

    TomlValue* table = &root;
    std::string path;
    for (std::size_t i = 0; i + 1 < keys.size(); ++i) {
        path += (i == 0 ? "" : ".") + keys[i];
        TomlValue* child = table->find(keys[i]);
        if (child == nullptr) {
            table->items.emplace_back();
            child = &table->items.back();
            child->key = keys[i];
            child->key_place = child->place = place;
        } else if (child->kind == TomlValue::Kind::text && std::ranges::find(typed, path) != typed.end()) {
            become_table(*child);
        } else if (child->kind != TomlValue::Kind::table) {
            return problems.add(place,
                                fmt::format("{} is {}, not a table, at {}", path, describe(*child), child->place.text));
        }
        table = child;
    }
    const std::string raw = trimmed(override_text.substr(equals + 1));
    TomlValue value = raw.empty() ? unset_at(place) : parse_value(raw, place);
    value.key = keys.back();
    TomlValue* existing = table->find(value.key);
    if (existing == nullptr) {
        table->items.push_back(std::move(value));
    } else if (existing->from_override) {
        problems.add(place, fmt::format("the key is set twice, also by \"{}\"", existing->place.text));
    } else {
        remember(*existing, value);
        *existing = std::move(value);
    }
}

}  // namespace

void apply_overrides(TomlValue& root, const std::vector<std::string>& overrides, const std::vector<std::string>& typed,
                     Problems& problems) {
    const auto depth = [&](std::size_t i) {
        return std::count(overrides[i].begin(), std::ranges::find(overrides[i], '='), '.');
    };
    std::vector<std::size_t> order(overrides.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::stable_sort(order, {}, depth);
    for (const std::size_t i : order) apply_override(root, overrides[i], static_cast<int>(i) + 1, typed, problems);
}

}  // namespace headscope::experiments
