#include "experiments/config/config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "experiments/base/sha256.h"
#include "experiments/config/field_text.h"
#include "experiments/config/key_combinations.h"
#include "experiments/config/reader.h"
#include "experiments/config/sections.h"
#include "experiments/config/writer.h"

namespace headscope::experiments {

Config parse_config(const std::string& text, const std::string& path, const std::vector<std::string>& overrides) {
    Problems problems;
    TomlValue root = parse_document(text, path, problems);
    problems.raise();  // without a document, everything else would be a consequence
    Config config;
    apply_overrides(root, overrides, typed_keys(config), problems);
    config.source = text;
    config.sweep = take_sweep_section(root, problems);
    const ReadKeys reading = read_config(root, path, config, problems);
    derive_and_check(config, reading, problems);
    problems.raise();
    return config;
}

namespace {

constexpr std::size_t most_bytes_of_config = 16 << 20;

}  // namespace

Config load_config(const std::string& path, const std::vector<std::string>& overrides) {
    require_regular_file(path);
    return load_users_config(path, overrides);
}

Config load_users_config(const std::string& path, const std::vector<std::string>& overrides) {
    return parse_config(read_file_or_pipe(path, most_bytes_of_config), path, overrides);
}

std::string Config::resolved() const {
    return write_config(*this, [](const std::string&) { return true; });
}

std::vector<std::string> Experiment::notes() const {
    std::vector<std::string> all = config.notes;
    for (std::string& note : task->notes()) all.push_back(std::move(note));
    return all;
}

const Config& Experiment::config_at(std::int64_t step) const {
    const Config* found = history.empty() ? &config : &history.front().config;
    for (const ConfigFrom& part : history)
        if (part.step <= step) found = &part.config;
    return *found;
}

ScheduleContext schedule_context(const Config& config) { return {config.schedule.warmup_steps, config.model.d_model}; }

namespace {

/// Choices that every identity names, in this order, since the first version did. In others a type that is not the
/// default counts like any key that differs from its default.
constexpr const char* named_choices[] = {"task", "model.attention", "model.position", "optimizer", "schedule"};

/// A config of the same types, as far as the identity names them, in which every other key has its default.
Config defaults_of(const std::map<std::string, std::string>& types) {
    Config defaults;
    for_each_choice(defaults, [&](const std::string& path, auto& choice) {
        const bool named = std::ranges::find(named_choices, path) != std::end(named_choices);
        choose(choice, named ? types.at(path) : choice.type);
    });
    return defaults;
}

// Only what differs from a default counts, and the types: a later version with one more key, whose default is what was
// done before, knows the runs of this one.
std::string identity_of(const Config& config, const std::map<std::string, std::string>& more_values) {
    std::map<std::string, std::string> types;
    for_each_choice(config, [&](const std::string& path, const auto& choice) { types[path] = choice.type; });
    Config usual_config = defaults_of(types);
    usual_config.model.kv_heads = config.model.num_heads;  // the default of a key that came later than num_heads
    std::map<std::string, std::string> values = config_values(config), defaults = config_values(usual_config);
    values.insert(more_values.begin(), more_values.end());
    std::string text;
    for (const char* path : named_choices) text += types.at(path) + "\n";
    for (const auto& [path, value] : values) {
        const auto usual = defaults.find(path);
        if (may_change_on_resume(path) || (usual != defaults.end() && usual->second == value)) continue;
        text += fmt::format("{} = {}\n", path, value);
    }
    return sha256(std::as_bytes(std::span(text)));
}

}  // namespace

std::string config_identity(const Config& config) { return identity_of(config, {}); }

std::string config_identity_1_0(const Config& config) {
    Config copy = config;
    std::map<std::string, std::string> paths;
    for (const auto& [key, file] : data_paths(copy)) paths[key] = quoted(file->absolute);
    return identity_of(config, paths);
}

std::string config_family(Config config) {
    config.seed = 0;
    config.name.clear();
    return config_identity(config);
}

std::map<std::string, DataPath*> data_paths(Config& config) {
    std::map<std::string, DataPath*> files;
    for (const Section& section : sections_of(config))
        for (const Field& field : section.fields.list())
            if (is_given_path(field) && !field.data_path->given.empty())
                files[join_path(section.name, field.key)] = field.data_path;
    return files;
}

bool is_data_path(const std::string& path) {
    if (!path.starts_with("task.")) return false;
    return std::ranges::any_of(types<TaskSettings>(), [&](const Type<TaskSettings>& type) {
        Fields fields;
        const auto settings = type.settings();
        settings->fields(fields);
        return std::ranges::any_of(fields.list(), [&](const Field& field) {
            return field.data_path != nullptr && "task." + field.key == path;
        });
    });
}

bool may_change_on_resume(const std::string& path) {
    if (path == "train.steps") return true;
    const std::string table = path.substr(0, path.find('.'));
    return path != table && (table == "eval" || table == "log" || table == "checkpoint");
}

namespace {

/// "task.path" of "task.path=t.txt".
std::string key_of(const std::string& override_text) {
    return override_text.substr(0, override_text.find_first_of(" \t="));
}

/// Throws UsageError that lists every override whose key is not `allowed`, and `why`.
template <class Allowed>
void check_overrides(const std::vector<std::string>& overrides, Allowed&& allowed, const std::string& why) {
    std::string message;
    for (const std::string& text : overrides) {
        if (allowed(key_of(text))) continue;
        if (!message.empty()) message += '\n';
        message += fmt::format("command line: {}: {} {}", text, key_of(text), why);
    }
    if (!message.empty()) throw UsageError(message);
}

}  // namespace

std::vector<std::string> data_overrides(const std::vector<std::string>& overrides) {
    std::vector<std::string> found;
    std::ranges::copy_if(overrides, std::back_inserter(found),
                         [](const std::string& text) { return is_data_path(key_of(text)); });
    return found;
}

void check_resume_overrides(const std::vector<std::string>& overrides) {
    check_overrides(
        overrides, [](const std::string& key) { return may_change_on_resume(key) || is_data_path(key); },
        "cannot change when a run goes on; only train.steps, log.*, checkpoint.*, eval.* and where its data "
        "are (task.path) can");
}

void check_data_overrides(const std::vector<std::string>& overrides) {
    check_overrides(overrides, is_data_path,
                    "cannot change when a run is looked back at; only where its data are (task.path) can be told");
}

}  // namespace headscope::experiments
