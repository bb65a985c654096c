#include "experiments/config/writer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "experiments/config/document.h"
#include "experiments/config/sections.h"

namespace headscope {

namespace {

// A TOML basic string. Bytes from 0x80 up are UTF-8 and stay.
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

// The shortest digits that read back as the same double, and never an integer to TOML.
std::string number(double value) {
    Value spelled;
    spelled.kind = Value::Kind::real;
    spelled.real = value;
    return spell(spelled);
}

std::string value_of(const Field& field) {
    switch (field.kind) {
        case Field::Kind::integer: return fmt::format("{}", *static_cast<const std::int64_t*>(field.value));
        case Field::Kind::real: return number(*static_cast<const double*>(field.value));
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

// max_len follows the task and stays 0 until it is known.
bool is_open(const Section& section, const Field& field) {
    return section.name == "model" && field.key == "max_len" && *static_cast<const std::int64_t*>(field.value) == 0;
}

}  // namespace

std::string write_config(const Config& config, const std::function<bool(const std::string& path)>& wanted) {
    Config copy = config;  // fields() binds to something that may be written to
    std::string out;
    const auto begin_table = [&out](const std::string& name) {
        if (!name.empty()) out += fmt::format("\n[{}]\n", name);
    };
    for (const Section& section : sections_of(copy)) {
        std::string lines, tables;
        for (const Field& field : section.fields.list()) {
            const std::string path = join_path(section.name, field.key);
            if (!wanted(path) || is_open(section, field)) continue;
            if (field.kind != Field::Kind::integer_table) {
                lines += fmt::format("{} = {}\n", field.key, value_of(field));
                continue;
            }
            tables += fmt::format("\n[{}]\n", path);
            for (const auto& [key, value] : *static_cast<const std::map<std::string, std::int64_t>*>(field.value)) {
                tables += fmt::format("{} = {}\n", key, value);
            }
        }
        if (!lines.empty()) begin_table(section.name);
        out += lines + tables;
    }
    return out;
}

}  // namespace headscope
