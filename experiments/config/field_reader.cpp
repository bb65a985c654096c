#include "experiments/config/field_reader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "experiments/base/nearest.h"
#include "experiments/config/field_text.h"

namespace headscope::experiments {

namespace {

std::vector<std::string> split_at_commas(const std::string& text) {
    std::vector<std::string> parts;
    for (std::size_t begin = 0; begin <= text.size();) {
        const std::size_t end = std::min(text.find(',', begin), text.size());
        const std::string part = text.substr(begin, end - begin);
        const auto first = part.find_first_not_of(' ');
        parts.push_back(first == std::string::npos ? "" : part.substr(first, part.find_last_not_of(' ') - first + 1));
        begin = end + 1;
    }
    return parts;
}

std::optional<double> as_number(const std::string& text) {
    double number = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc() || stop != end || !std::isfinite(number)) return std::nullopt;
    return number;
}

std::string wanted_by(const Field& field) {
    switch (field.kind) {
        case Field::Kind::integer: return "an integer";
        case Field::Kind::real: return "a number";
        case Field::Kind::boolean: return "true or false";
        case Field::Kind::text: return "a string";
        case Field::Kind::choice: return fmt::format("one of {}", quoted_list(field.choices));
        case Field::Kind::text_list: return fmt::format("a list of any of {}", quoted_list(field.choices));
        case Field::Kind::integer_table: return "a table of integers";
    }
    return {};
}

class FieldReader {
public:
    FieldReader(const Field& field, const std::string& path, Problems& problems)
        : field_(field), path_(path), problems_(problems) {}

    bool read(const TomlValue& value) {
        if (is_several(value) || is_no_number(value, path_)) return false;
        switch (field_.kind) {
            case Field::Kind::integer: return read_integer(value, path_, *static_cast<std::int64_t*>(field_.value));
            case Field::Kind::real: return read_real(value);
            case Field::Kind::boolean: return read_boolean(value);
            case Field::Kind::text: return read_text(value);
            case Field::Kind::choice: return read_choice(value);
            case Field::Kind::text_list: return read_text_list(value);
            case Field::Kind::integer_table: return read_integer_table(value);
        }
        return false;
    }

private:
    bool fail(const TomlValue& value, const std::string& message) {
        problems_.add(value.place, message);
        return false;
    }

    bool wrong_type(const TomlValue& value, const std::string& path, const std::string& wanted,
                    const std::string& mend = {}) {
        return fail(value, fmt::format("{} must be {}, got {}{}", path, wanted, describe(value), mend));
    }

    // Several values where one belongs: "1e-3,1e-4" on the command line, [1e-3, 1e-4] anywhere, seed=0..4.
    bool is_several(const TomlValue& value) {
        if (field_.kind == Field::Kind::text_list || field_.kind == Field::Kind::integer_table) return false;
        std::string values;
        if (value.kind == TomlValue::Kind::list) {
            std::vector<std::string> words;
            for (const TomlValue& item : value.items) words.push_back(spell(item));
            values = fmt::format("{}", fmt::join(words, ","));
        } else if (value.from_override && value.kind == TomlValue::Kind::text && field_.kind != Field::Kind::text) {
            const bool range = field_.kind == Field::Kind::integer && value.text.find("..") != std::string::npos;
            if (value.text.find(',') == std::string::npos && !range) return false;
            values = value.text;
        } else {
            return false;
        }
        fail(value, fmt::format("{} takes one value, not a list; do a run for each: {}", path_,
                                examples_of(split_at_commas(values))));
        return true;
    }

    /// "seed=0, seed=1, ..."
    std::string examples_of(const std::vector<std::string>& values) const {
        constexpr std::size_t shown = 3;
        std::vector<std::string> settings;
        for (const std::string& value : values) {
            const std::size_t range = value.find("..");
            if (range != std::string::npos) settings.push_back(path_ + "=" + value.substr(0, range));
            else settings.push_back(path_ + "=" + value);
            if (range != std::string::npos || settings.size() == shown) break;
        }
        const bool all = values.size() == settings.size() && values.back().find("..") == std::string::npos;
        return fmt::format("{}{}", fmt::join(settings, ", "), all ? "" : ", ...");
    }

    /// Digits that no number stands for, where a number belongs.
    bool is_no_number(const TomlValue& value, const std::string& path) {
        const bool number = field_.kind == Field::Kind::integer || field_.kind == Field::Kind::real ||
                            field_.kind == Field::Kind::integer_table;
        if (!number || value.not_a_number.empty()) return false;
        // An integer beyond 64 bits is a number all the same; read_real() says how to write it.
        if (field_.kind == Field::Kind::real && as_number(value.text)) return false;
        fail(value, fmt::format("{} must be {}, and {}", path,
                                field_.kind == Field::Kind::real ? "a number" : "an integer", value.not_a_number));
        return true;
    }

    bool read_integer(const TomlValue& value, const std::string& path, std::int64_t& target) {
        if (value.kind != TomlValue::Kind::integer) {
            std::string mend;
            const std::optional<double> number = value.kind == TomlValue::Kind::real   ? value.real
                                                 : value.kind == TomlValue::Kind::text ? as_number(value.text)
                                                                                       : std::nullopt;
            constexpr double exact = 9007199254740992.0;  // 2^53
            if (number && std::trunc(*number) == *number && std::abs(*number) <= exact) {
                mend = fmt::format("; write {}", static_cast<std::int64_t>(*number));
            }
            return wrong_type(value, path, "an integer", mend);
        }
        const IntegerRange& range = field_.integer_range;
        if (value.integer < range.min || value.integer > range.max) {
            return fail(value, fmt::format("{} must be {}, got {}", path, range_of(range), value.integer));
        }
        target = value.integer;
        return true;
    }

    bool read_real(const TomlValue& value) {
        if (value.kind != TomlValue::Kind::real && value.kind != TomlValue::Kind::integer) {
            const auto number = value.kind == TomlValue::Kind::text ? as_number(value.text) : std::nullopt;
            return wrong_type(value, path_, "a number", number ? "; write " + spell_number(*number) : "");
        }
        const double number = value.kind == TomlValue::Kind::real ? value.real : static_cast<double>(value.integer);
        if (!std::isfinite(number)) return fail(value, fmt::format("{} must be finite, got {}", path_, number));
        const RealRange& range = field_.real_range;
        const bool inside = number >= range.min && number > range.above && number <= range.max && number < range.below;
        if (!inside) {
            return fail(value, fmt::format("{} must be {}, got {}", path_, range_of(range), spell(value)));
        }
        *static_cast<double*>(field_.value) = number;
        return true;
    }

    bool read_boolean(const TomlValue& value) {
        if (value.kind != TomlValue::Kind::boolean) return wrong_type(value, path_, "true or false");
        *static_cast<bool*>(field_.value) = value.boolean;
        return true;
    }

    // The string that a value stands for: on the command line anything without quotes is one, also 12 or true.
    std::optional<std::string> text_of(const TomlValue& value) {
        const bool starts_quoted = !value.raw.empty() && (value.raw[0] == '"' || value.raw[0] == '\'');
        if (value.from_override && !value.syntax_error.empty() && starts_quoted) {
            fail(value, fmt::format("{} is not a TOML string: {}", path_, value.syntax_error));
            return std::nullopt;
        }
        if (value.kind == TomlValue::Kind::text) return value.text;
        if (value.from_override && !value.raw.empty()) return value.raw;
        wrong_type(value, path_, wanted_by(field_));
        return std::nullopt;
    }

    bool read_text(const TomlValue& value) {
        std::optional<std::string> text = text_of(value);
        if (!text) return false;
        if (text->find('\0') != std::string::npos) return fail(value, path_ + " must not hold a NUL character");
        *static_cast<std::string*>(field_.value) = *text;
        return true;
    }

    bool is_choice(const TomlValue& value, const std::string& word) {
        if (std::find(field_.choices.begin(), field_.choices.end(), word) != field_.choices.end()) return true;
        const std::string near = nearest(word, field_.choices);
        const std::string mend = near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near);
        return fail(value,
                    fmt::format("{} must be one of {}, got \"{}\"{}", path_, quoted_list(field_.choices), word, mend));
    }

    bool read_choice(const TomlValue& value) {
        const std::optional<std::string> word = text_of(value);
        if (!word || !is_choice(value, *word)) return false;
        *static_cast<std::string*>(field_.value) = *word;
        return true;
    }

    bool read_text_list(const TomlValue& value) {
        std::vector<TomlValue> items = value.items;
        if (value.kind != TomlValue::Kind::list) {
            // The shell eats quotes: [q,k] stands for ["q", "k"].
            const bool bracketed = value.raw.size() > 2 && value.raw.front() == '[' && value.raw.back() == ']';
            if (!bracketed || value.kind != TomlValue::Kind::text) return wrong_type(value, path_, wanted_by(field_));
            for (const std::string& word : split_at_commas(value.raw.substr(1, value.raw.size() - 2))) {
                TomlValue item = value;
                item.text = item.raw = word;
                item.syntax_error.clear();
                items.push_back(item);
            }
        }
        std::vector<std::string> words;
        bool good = true;
        for (const TomlValue& item : items) {
            if (item.kind != TomlValue::Kind::text) good = wrong_type(item, path_, wanted_by(field_));
            else if (!is_choice(item, item.text)) good = false;
            else if (std::find(words.begin(), words.end(), item.text) != words.end()) {
                good = fail(item, fmt::format("{} names \"{}\" twice", path_, item.text));
            } else {
                words.push_back(item.text);
            }
        }
        if (good) *static_cast<std::vector<std::string>*>(field_.value) = words;
        return good;
    }

    bool read_integer_table(const TomlValue& value) {
        if (value.kind != TomlValue::Kind::table) {
            const std::string example =
                field_.choices.empty() ? "" : fmt::format(" such as {} = 10", field_.choices.front());
            return wrong_type(value, path_, wanted_by(field_) + example);
        }
        std::map<std::string, std::int64_t> table;
        bool good = true;
        for (const TomlValue& item : value.items) {
            const std::string path = path_ + "." + item.key;
            const bool known =
                std::find(field_.choices.begin(), field_.choices.end(), item.key) != field_.choices.end();
            if (known && item.kind == TomlValue::Kind::unset) continue;
            if (!known) {
                problems_.add(item.key_place,
                              fmt::format("unknown key {}{}", path,
                                          problems_.crowded() ? "" : suggestion(item.key, field_.choices)));
                good = false;
            } else if (is_list(item, path) || is_no_number(item, path) || !read_integer(item, path, table[item.key])) {
                good = false;
            }
        }
        if (good) *static_cast<std::map<std::string, std::int64_t>*>(field_.value) = table;
        return good;
    }

    bool is_list(const TomlValue& item, const std::string& path) {
        Field field;
        field.kind = Field::Kind::integer;
        return FieldReader(field, path, problems_).is_several(item);
    }

    const Field& field_;
    const std::string& path_;
    Problems& problems_;
};

}  // namespace

bool read_field(const Field& field, const std::string& path, const TomlValue& value, Problems& problems) {
    return FieldReader(field, path, problems).read(value);
}

}  // namespace headscope::experiments
