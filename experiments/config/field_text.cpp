#include "experiments/config/field_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

#include "experiments/config/document.h"

namespace headscope::experiments {

std::string range_of(const IntegerRange& range) {
    const IntegerRange open;
    if (range.min != open.min && range.max != open.max) return fmt::format("from {} to {}", range.min, range.max);
    if (range.min != open.min) return fmt::format("at least {}", range.min);
    return range.max != open.max ? fmt::format("at most {}", range.max) : "";
}

std::string range_of(const RealRange& range) {
    std::vector<std::string> limits;
    if (std::isfinite(range.min)) limits.push_back(fmt::format("at least {}", range.min));
    if (std::isfinite(range.above)) limits.push_back(fmt::format("above {}", range.above));
    if (std::isfinite(range.max)) limits.push_back(fmt::format("at most {}", range.max));
    if (std::isfinite(range.below)) limits.push_back(fmt::format("below {}", range.below));
    return fmt::format("{}", fmt::join(limits, " and "));
}

std::string range_of(const Field& field) {
    switch (field.kind) {
        case Field::Kind::integer:
        case Field::Kind::integer_table: return range_of(field.integer_range);
        case Field::Kind::real: return range_of(field.real_range);
        case Field::Kind::choice: return "one of " + quoted_list(field.choices);
        case Field::Kind::text_list: return "any of " + quoted_list(field.choices);
        case Field::Kind::boolean:
        case Field::Kind::text: break;
    }
    return {};
}

std::string type_of(const Field& field) {
    switch (field.kind) {
        case Field::Kind::integer: return "integer";
        case Field::Kind::real: return "number";
        case Field::Kind::boolean: return "true or false";
        case Field::Kind::text: return field.data_path != nullptr ? "path" : "string";
        case Field::Kind::choice: return "string";
        case Field::Kind::text_list: return "list of strings";
        case Field::Kind::integer_table: return "table of integers";
    }
    return {};
}

std::string value_of(const Field& field) {
    switch (field.kind) {
        case Field::Kind::integer: return fmt::format("{}", *static_cast<const std::int64_t*>(field.value));
        case Field::Kind::real: return spell_number(*static_cast<const double*>(field.value));
        case Field::Kind::boolean: return *static_cast<const bool*>(field.value) ? "true" : "false";
        case Field::Kind::text:
        case Field::Kind::choice: return quoted(*static_cast<const std::string*>(field.value));
        case Field::Kind::text_list: {
            std::vector<std::string> words;
            for (const std::string& word : *static_cast<const std::vector<std::string>*>(field.value)) {
                words.push_back(quoted(word));
            }
            return fmt::format("[{}]", fmt::join(words, ", "));
        }
        case Field::Kind::integer_table: break;  // a table of its own, see write_config
    }
    return {};
}

std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (byte < 0x20 || byte == 0x7f) {
            out += fmt::format("\\u{:04X}", byte);
        } else {
            out += c;
        }
    }
    return out + '"';
}

std::string quoted_list(const std::vector<std::string>& words) {
    return words.empty() ? "(there is none)" : fmt::format("\"{}\"", fmt::join(words, "\", \""));
}

std::string spell_number(double number) {
    TomlValue value;
    value.kind = TomlValue::Kind::real;
    value.real = number;
    return spell(value);
}

}  // namespace headscope::experiments
