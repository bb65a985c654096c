#include "experiments/training/belonging.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "experiments/storage/run_folder.h"

namespace headscope::experiments {

namespace {

namespace fs = std::filesystem;

Config config_of(const LogReader& log) { return parse_config(log.resolved_config(), log.resolved_config_place()); }

/// Could the file be opened without looking further? If the disk does not let us know, whoever opens it says so.
bool at_hand(const DataPath& file) {
    try {
        return file.found().has_value();
    } catch (const IoError&) {
        return true;
    }
}

/// A place, seen from a folder that has become another one.
std::string moved_along(const std::string& place, const std::string& folder_then, const std::string& folder_now) {
    const fs::path there = fs::path(place).lexically_relative(folder_then);
    return (fs::absolute(folder_now) / there).lexically_normal().string();
}

bool has_config_of(const Checkpoint& checkpoint, const Config& config, const LogReader* log) {
    const std::string identity = config_identity(config);
    if (checkpoint.config_identity == identity) return true;
    if (log == nullptr) return checkpoint.config_identity == config_identity_1_0(config);
    return checkpoint.config_identity == identity_of_schema_1_0(*log) && config_identity(config_of(*log)) == identity;
}

bool has_data_of(const Checkpoint& checkpoint, const LogReader& log) {
    const std::optional<std::string> data = log.data_sha256();
    if (checkpoint.data_sha256.empty() || !data || *data == checkpoint.data_sha256) return true;
    return std::ranges::any_of(log.events(), [&](const LoggedEvent& event) {
        return event.kind == "data" && event.message.find(checkpoint.data_sha256) != std::string::npos;
    });
}

}  // namespace

bool belongs(const Checkpoint& checkpoint, const Config& config, const LogReader* log) {
    const bool other_run = log != nullptr && !checkpoint.run_id.empty() && checkpoint.run_id != log->run_id();
    return !other_run && has_config_of(checkpoint, config, log) && (log == nullptr || has_data_of(checkpoint, *log));
}

std::string identity_of_schema_1_0(const LogReader& log) {
    return log.data_sha256() ? log.config_identity_1_0() : config_identity_1_0(config_of(log));
}

void find_moved_data(Config& config, const std::string& run_folder, const std::vector<std::string>& overrides) {
    const auto is_named = [&](const std::string& key) {
        return std::ranges::any_of(
            overrides, [&](const std::string& text) { return text.substr(0, text.find_first_of(" \t=")) == key; });
    };
    const std::map<std::string, DataPath*> files = data_paths(config);
    if (std::ranges::all_of(files, [](const auto& file) { return at_hand(*file.second); })) return;
    const RunPaths paths(run_folder);
    try {
        if (!path_exists(paths.log)) return;
        const LogReader log(paths.log);
        Config logged = config_of(log);
        if (log.folder().empty()) return;  // schema 1.0
        for (const auto& [key, then] : data_paths(logged)) {
            const auto file = files.find(key);
            if (file == files.end() || is_named(key)) continue;
            file->second->moved = moved_along(then->absolute, log.folder(), run_folder);
            file->second->drop_foreign_notes();
        }
    } catch (const IoError&) {  // whoever needs the log says what is wrong with it
    }
}

std::string places_of_data(const Experiment& experiment) {
    Config config = experiment.config;
    std::string text;
    for (const auto& [key, file] : data_paths(config)) {
        text += fmt::format("{}{} = \"{}\"", text.empty() ? "" : " and ", key, file->given);
        if (file->given != file->absolute) text += fmt::format(" ({})", file->absolute);
    }
    return text;
}

std::optional<std::string> data_difference(const Experiment& at_hand, const std::string& folder,
                                           const std::optional<std::string>& trained_on) {
    const std::string digest = at_hand.task->data_sha256();
    if (!trained_on || trained_on->empty() || digest.empty() || *trained_on == digest) return std::nullopt;
    return fmt::format("{} was trained on data of SHA-256 {}; the data at hand, {}, have SHA-256 {}", folder,
                       *trained_on, places_of_data(at_hand), digest);
}

}  // namespace headscope::experiments
