#include "experiments/config/reader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "experiments/base/nearest.h"
#include "experiments/config/field_reader.h"
#include "experiments/config/sections.h"

namespace headscope::experiments {

bool ReadKeys::good(std::initializer_list<const char*> paths) const {
    return std::none_of(paths.begin(), paths.end(), [this](const char* path) { return bad.count(path) != 0; });
}

SourcePosition ReadKeys::place_of(std::initializer_list<std::string> paths) const {
    for (const std::string& path : paths) {
        const auto found = places.find(path);
        if (found != places.end()) return found->second;
    }
    return {0, 1, 1, file + ":1:1"};
}

namespace {

class ConfigReader {
public:
    ConfigReader(const TomlValue& root, const std::string& file, Config& config, Problems& problems)
        : root_(root), config_(config), problems_(problems) {
        reading_.file = file;
    }

    ReadKeys read() {
        // Types first, since they decide which other keys there are. One that was refused leaves the default.
        for (const Section& section : sections_of(config_)) {
            for (const Field& field : section.fields.list()) {
                if (is_type(field)) read_key(section, field);
            }
        }
        for_each_choice(config_, [](const std::string&, auto& choice) { choose(choice, choice.type); });
        for (const Section& section : sections_of(config_)) {
            for (const Field& field : section.fields.list()) {
                if (!is_type(field)) read_key(section, field);
            }
            report_unknown_keys(section);
        }
        for (const auto& [path, type] : changed_types_)
            if (!type.left_out.empty())
                config_.notes.push_back(fmt::format("{}: the file's keys of \"{}\" are left out: {}", type.place.text,
                                                    type.before, fmt::join(type.left_out, ", ")));
        return std::move(reading_);
    }

private:
    // Does the field decide which other keys there are?
    static bool is_type(const Field& field) { return field.key == "type" || field.typed; }

    // The table of a section, null when it is not in the config, or set as a whole on the command line, which
    // report_unknown_keys refuses. One that stands for a typed key is a value like others.
    const TomlValue* table_of(const Section& section) const {
        const TomlValue* table = &root_;
        for (std::size_t begin = 0; table != nullptr && begin < section.name.size();) {
            const std::size_t end = std::min(section.name.find('.', begin), section.name.size());
            table = table->find(section.name.substr(begin, end - begin));
            if (table != nullptr && table->kind != TomlValue::Kind::table) return nullptr;
            const bool value = section.type != nullptr && end == section.name.size();
            if (table != nullptr && table->from_override && !value) return nullptr;
            begin = end + 1;
        }
        return table;
    }

    void read_key(const Section& section, const Field& field) {
        const TomlValue* table = table_of(section);
        const TomlValue* value = table == nullptr ? nullptr : table->find(field.key);
        const std::string path = join_path(section.name, field.key);
        std::string written = path;
        if (is_type(field) && value != nullptr && value->from_override) note_change(field, path, *value);
        if (field.typed && value != nullptr && value->kind == TomlValue::Kind::table) {
            value = value->find("type");
            written = join_path(path, "type");
            const bool inside = table->find(field.key)->from_override;  // the whole table is the command line's
            if (!inside && value != nullptr && value->from_override) note_change(field, path, *value);
        }
        const SourcePosition* unset_by = nullptr;
        if (value != nullptr && value->kind == TomlValue::Kind::unset) {
            unset_by = &value->place;
            value = nullptr;
        }
        if (field.given != nullptr) *field.given = value != nullptr;
        if (value != nullptr) {
            reading_.places[path] = value->place;
            if (!read_field(field, written, *value, problems_)) reading_.bad.insert(path);
        } else if (field.required) {
            const SourcePosition place = unset_by != nullptr ? *unset_by
                                         : table == nullptr  ? reading_.place_of({section.name})
                                                             : table->place;
            const bool choice = field.kind == Field::Kind::choice;
            problems_.add(place,
                          fmt::format("{} is missing; it has no default{}", path,
                                      choice ? fmt::format(" (one of {})", fmt::join(field.choices, ", ")) : ""));
            reading_.bad.insert(path);
        }
    }

    /// The command line says what a type is; `value` is what it says.
    void note_change(const Field& field, const std::string& path, const TomlValue& value) {
        ChangedType& type = changed_types_[path];
        type.place = value.place;
        type.before = value.replaced_text.empty() ? *static_cast<const std::string*>(field.value) : value.replaced_text;
        for (const std::string& key : value.replaced_keys)
            if (value.find(key) == nullptr) type.left_out.push_back(join_path(path, key));
    }

    void report_unknown_keys(const Section& section) {
        const TomlValue* table = table_of(section);
        if (table == nullptr) return;
        std::vector<std::string> tables;
        for (const Section& other : sections_of(config_)) {
            const bool inside = section.name.empty() ? other.name.find('.') == std::string::npos
                                                     : other.name.rfind(section.name + ".", 0) == 0;
            if (inside && other.name != section.name && other.type == nullptr) {
                tables.push_back(section.name.empty() ? other.name : other.name.substr(section.name.size() + 1));
            }
        }
        for (const TomlValue& item : table->items) {
            if (section.find(item.key) != nullptr || (section.type != nullptr && item.key == "type")) continue;
            if (std::find(tables.begin(), tables.end(), item.key) == tables.end()) {
                report_unknown(section, item, tables);
            } else if (item.kind != TomlValue::Kind::table) {
                const std::string path = join_path(section.name, item.key);
                problems_.add(item.place,
                              fmt::format("{} must be a table, written [{}], got {}", path, path, describe(item)));
            } else if (item.from_override) {
                const std::string path = join_path(section.name, item.key);
                problems_.add(item.place,
                              fmt::format("{} is a table; set its keys one by one, {}.key=value", path, path));
            }
        }
    }

    void report_unknown(const Section& section, const TomlValue& item, const std::vector<std::string>& tables) {
        const std::string path = join_path(section.name, item.key);
        if (problems_.crowded()) return problems_.add(item.key_place, "unknown key " + path);
        const std::vector<std::string> owners = types_with(section.name, item.key);
        if (!owners.empty()) {
            const std::string type = join_path(section.name, "type");
            const std::string& chosen_by = section.type != nullptr ? section.name : type;
            if (!reading_.good({chosen_by.c_str()})) return;  // it may well be a key of the type that was meant
            if (item.kind == TomlValue::Kind::unset && item.replaces) return;  // the file's key, which is gone
            const auto changed = changed_types_.find(chosen_by);
            if (!item.from_override && changed != changed_types_.end() &&
                std::ranges::find(owners, changed->second.before) != owners.end()) {
                changed->second.left_out.push_back(path);
                return;
            }
            problems_.add(item.key_place, fmt::format("{} does not exist for {} = \"{}\", only for \"{}\"", path, type,
                                                      type_of(section), fmt::join(owners, "\", \"")));
            return;
        }
        // With an unknown type there is no saying which keys it has.
        if (section.name == "task" && config_.task.settings == nullptr) return;
        std::vector<std::string> known = section.keys();
        known.insert(known.end(), tables.begin(), tables.end());
        if (section.type != nullptr) known.emplace_back("type");
        std::string mend = meant_instead(section, synonym(item.key));
        if (mend.empty() && nearest(item.key, known).empty()) mend = meant_instead(section, item.key);
        if (mend.empty()) mend = suggestion(item.key, known);
        problems_.add(item.key_place, fmt::format("unknown key {}{}", path, mend));
    }

    /// "; did you mean optimizer.lr?": the key in this table, else in another; empty when there is none.
    std::string meant_instead(const Section& section, const std::string& key) {
        std::string path = section.find(key) != nullptr ? join_path(section.name, key) : "";
        for (const Section& other : sections_of(config_))
            if (path.empty() && other.find(key) != nullptr) path = join_path(other.name, key);
        return path.empty() ? "" : fmt::format("; did you mean {}?", path);
    }

    static std::string type_of(const Section& section) {
        return section.type != nullptr ? *section.type : *static_cast<const std::string*>(section.find("type")->value);
    }

    const TomlValue& root_;
    Config& config_;
    Problems& problems_;
    ReadKeys reading_;

    /// A type that the command line chose.
    struct ChangedType {
        SourcePosition place;               ///< of the choice
        std::string before;                 ///< the file's type, or the default
        std::vector<std::string> left_out;  ///< keys of the file that no longer count
    };
    std::map<std::string, ChangedType> changed_types_;  ///< by path: "optimizer.type", "model.attention"
};

}  // namespace

ReadKeys read_config(const TomlValue& root, const std::string& file, Config& config, Problems& problems) {
    return ConfigReader(root, file, config, problems).read();
}

}  // namespace headscope::experiments
