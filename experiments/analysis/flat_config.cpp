#include "experiments/analysis/flat_config.h"

namespace headscope::experiments {

namespace {

void flatten(const TomlValue& table, const std::string& prefix, std::vector<Setting>& settings) {
    for (const TomlValue& item : table.items) {
        if (item.kind == TomlValue::Kind::table) flatten(item, prefix + item.key + ".", settings);
        else settings.push_back({prefix + item.key, item});
    }
}

}  // namespace

std::vector<Setting> flat_config(const LogReader& log, const std::string& run) {
    Problems problems;
    const TomlValue root = parse_document(log.resolved_config(), run + ": /config/resolved", problems);
    problems.raise();
    std::vector<Setting> settings;
    flatten(root, "", settings);
    return settings;
}

std::string spell_whole(const TomlValue& value) {
    if (value.kind != TomlValue::Kind::list && value.kind != TomlValue::Kind::table) return spell(value);
    const bool list = value.kind == TomlValue::Kind::list;
    std::string text;
    for (const TomlValue& item : value.items)
        text += (text.empty() ? "" : ", ") + (list ? spell_whole(item) : item.key + " = " + spell_whole(item));
    return list ? "[" + text + "]" : "{" + text + "}";
}

}  // namespace headscope::experiments
