#include "experiments/config/writer.h"

#include <fmt/format.h>

#include <algorithm>

#include "experiments/config/field_text.h"
#include "experiments/config/sections.h"

namespace headscope::experiments {

namespace {

/// Does the type that a key chooses have keys of its own? Its table then says the type.
bool has_table(const std::vector<Section>& sections, const std::string& path) {
    return std::ranges::any_of(sections, [&](const Section& section) {
        return section.type != nullptr && section.name == path && !section.keys().empty();
    });
}

}  // namespace

std::string write_config(const Config& config, const std::function<bool(const std::string& path)>& wanted) {
    Config copy = config;  // fields() binds to something that may be written to
    std::string out;
    const auto begin_table = [&out](const std::string& name) {
        if (!name.empty()) out += fmt::format("\n[{}]\n", name);
    };
    const std::vector<Section> sections = sections_of(copy);
    for (const Section& section : sections) {
        std::string lines, tables;
        if (has_table(sections, section.name) && wanted(section.name)) {
            lines = fmt::format("type = {}\n", quoted(*section.type));
        }
        for (const Field& field : section.fields.list()) {
            const std::string path = join_path(section.name, field.key);
            if (!wanted(path) || is_unset(field) || has_table(sections, path)) continue;
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

std::map<std::string, std::string> config_values(const Config& config) {
    Config copy = config;
    std::map<std::string, std::string> values;
    for (const Section& section : sections_of(copy))
        for (const Field& field : section.fields.list()) {
            const std::string path = join_path(section.name, field.key);
            if (field.kind == Field::Kind::integer_table || field.data_path != nullptr || is_unset(field)) continue;
            values[path] = value_of(field);
        }
    return values;
}

}  // namespace headscope::experiments
