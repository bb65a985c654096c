#include "experiments/config/config_history.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>

#include "experiments/base/errors.h"
#include "experiments/config/document.h"
#include "experiments/config/field_text.h"
#include "experiments/config/sections.h"
#include "experiments/config/writer.h"

namespace headscope::experiments {
namespace {

/// Path -> value as TOML, of every key that may_change_on_resume() and is set.
using ResumeSettings = std::map<std::string, std::string>;

ResumeSettings settings_of(const Config& config) {
    Config copy = config;  // fields() binds to something that may be written to
    ResumeSettings settings;
    for (const Section& section : sections_of(copy))
        for (const Field& field : section.fields.list()) {
            const std::string path = join_path(section.name, field.key);
            if (!may_change_on_resume(path) || is_unset(field)) continue;
            if (field.kind != Field::Kind::integer_table) settings[path] = value_of(field);
            else
                for (const auto& [key, value] : *static_cast<const std::map<std::string, std::int64_t>*>(field.value))
                    settings[join_path(path, key)] = fmt::format("{}", value);
        }
    return settings;
}

Config with_settings(const Config& config, const std::vector<std::string>& settings, const std::string& place) {
    const std::string rest = write_config(config, [](const std::string& path) { return !may_change_on_resume(path); });
    return parse_config(rest, place, settings);
}

std::vector<std::string> as_overrides(const ResumeSettings& settings) {
    std::vector<std::string> overrides;
    for (const auto& [path, value] : settings) overrides.push_back(path + "=" + value);
    return overrides;
}

/// The keys of which the values differ, or that one of both does not set.
std::set<std::string> differing(const ResumeSettings& a, const ResumeSettings& b) {
    std::set<std::string> paths;
    const auto missing_in = [&](const ResumeSettings& other) {
        return [&](const auto& setting) {
            const auto found = other.find(setting.first);
            if (found == other.end() || found->second != setting.second) paths.insert(setting.first);
        };
    };
    std::ranges::for_each(a, missing_in(b));
    std::ranges::for_each(b, missing_in(a));
    return paths;
}

/// Adds a part, unless it changes nothing.
void add_part(ConfigHistory& history, std::int64_t step, Config config) {
    if (!history.empty() && settings_of(history.back().config) == settings_of(config)) return;
    history.push_back({step, std::move(config)});
}

/// The parts with `change` made in all that holds at `from` and later.
template <class Change>
ConfigHistory changed_from(const ConfigHistory& history, std::int64_t from, const Change& change) {
    ConfigHistory changed;
    for (std::size_t i = 0; i < history.size(); ++i) {
        const ConfigFrom& part = history[i];
        if (part.step < from) add_part(changed, part.step, part.config);
        if (part.step >= from) add_part(changed, part.step, change(part.config));
        else if (i + 1 == history.size() || history[i + 1].step > from) add_part(changed, from, change(part.config));
    }
    return changed;
}

constexpr const char* history_place = "config history";

[[noreturn]] void fail_history(const std::string& place) {
    throw IoError(place + " is no history of a config; the log is damaged");
}

}  // namespace

Config with_resume_settings(const Config& config, const Config& settings) {
    return with_settings(config, as_overrides(settings_of(settings)), history_place);
}

std::string write_config_history(const ConfigHistory& history) {
    if (history.size() < 2) return {};
    std::string text;
    for (const ConfigFrom& part : history) {
        std::vector<std::string> set;
        for (const std::string& setting : as_overrides(settings_of(part.config))) set.push_back(quoted(setting));
        text += fmt::format("{}[[from]]\nstep = {}\nset = [{}]\n", text.empty() ? "" : "\n", part.step,
                            fmt::join(set, ", "));
    }
    return text;
}

ConfigHistory read_config_history(const std::string& text, const std::string& place, const Config& config) {
    Problems problems;
    const TomlValue root = parse_document(text, place, problems);
    problems.raise();
    ConfigHistory history;
    const TomlValue* const parts = root.find("from");
    if (parts == nullptr || parts->kind != TomlValue::Kind::list) fail_history(place);
    for (const TomlValue& part : parts->items) {
        const TomlValue *const step = part.find("step"), *const set = part.find("set");
        if (step == nullptr || step->kind != TomlValue::Kind::integer || set == nullptr) fail_history(place);
        if (!history.empty() && step->integer <= history.back().step) fail_history(place);
        std::vector<std::string> settings;
        for (const TomlValue& setting : set->items) settings.push_back(setting.text);
        check_resume_overrides(settings);
        history.push_back({step->integer, with_settings(config, settings, place)});
    }
    if (history.empty()) fail_history(place);
    return history;
}

ConfigHistory continued(const ConfigHistory& history, std::int64_t step, const Config& config) {
    const ResumeSettings now = settings_of(config);
    const std::set<std::string> changed = differing(settings_of(history.back().config), now);
    if (changed.empty()) return history;
    return changed_from(history, step, [&](const Config& planned) {
        ResumeSettings settings = settings_of(planned);
        for (const std::string& path : changed) {
            const auto value = now.find(path);
            if (value == now.end()) settings.erase(path);
            else settings[path] = value->second;
        }
        return with_settings(config, as_overrides(settings), history_place);
    });
}

ConfigHistory overridden(const ConfigHistory& history, std::int64_t from, const std::vector<std::string>& overrides) {
    return changed_from(
        history, from, [&](const Config& config) { return parse_config(config.resolved(), history_place, overrides); });
}

std::string describe_resume_changes(const Config& before, const Config& after) {
    const ResumeSettings then = settings_of(before), now = settings_of(after);
    const auto value = [](const ResumeSettings& settings, const std::string& path) {
        const auto found = settings.find(path);
        return found == settings.end() ? "not set" : found->second;
    };
    std::vector<std::string> changes;
    for (const std::string& path : differing(then, now))
        changes.push_back(fmt::format("{} = {} (was {})", path, value(now, path), value(then, path)));
    return fmt::format("{}", fmt::join(changes, ", "));
}

}  // namespace headscope::experiments
