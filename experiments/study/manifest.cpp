#include "experiments/study/manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <utility>

#include "experiments/base/errors.h"
#include "experiments/base/file_replacement.h"
#include "experiments/base/files.h"
#include "experiments/storage/file_lock.h"
#include "experiments/storage/run_folder.h"

namespace headscope::experiments {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* schema_name = "headscope.sweep";
constexpr const char* schema_version = "1.0";

constexpr std::array<std::pair<SweepState, const char*>, 5> states{{{SweepState::waiting, "waiting"},
                                                                    {SweepState::running, "running"},
                                                                    {SweepState::stopped, "stopped"},
                                                                    {SweepState::finished, "finished"},
                                                                    {SweepState::failed, "failed"}}};

SweepState state_named(const std::string& name) {
    for (const auto& [state, text] : states)
        if (name == text) return state;
    throw IoError(fmt::format("has a run of state \"{}\"", name));
}

Json to_json(const Manifest& manifest) {
    Json json{{"schema_name", schema_name},
              {"schema_version", schema_version},
              {"name", manifest.name},
              {"config_path", manifest.config_path},
              {"config", manifest.config},
              {"working_folder", manifest.working_folder},
              {"overrides", manifest.overrides},
              {"axes", Json::array()},
              {"zip", manifest.zip},
              {"runs", Json::array()}};
    for (const SweepAxis& axis : manifest.axes) json["axes"].push_back({{"key", axis.key}, {"values", axis.values}});
    for (const SweepRun& run : manifest.runs)
        json["runs"].push_back({{"folder", run.folder},
                                {"overrides", run.overrides},
                                {"state", name_of(run.state)},
                                {"exit", run.exit ? Json(*run.exit) : Json()},
                                {"message", run.message},
                                {"data_sha256", run.data_sha256}});
    return json;
}

/// A name in the sweep's folder, which leads nowhere else.
std::string checked_folder(const std::string& folder) {
    if (folder.empty() || folder.find('/') != std::string::npos || folder.starts_with('.'))
        throw IoError(fmt::format("has a run in the folder \"{}\", which is none of a sweep", folder));
    return folder;
}

Manifest from_json(const Json& json) {
    if (json.at("schema_name") != schema_name || json.at("schema_version") != schema_version)
        throw IoError(fmt::format("is no manifest of {} {}", schema_name, schema_version));
    Manifest manifest;
    json.at("name").get_to(manifest.name);
    json.at("config_path").get_to(manifest.config_path);
    json.at("config").get_to(manifest.config);
    json.at("working_folder").get_to(manifest.working_folder);
    json.at("overrides").get_to(manifest.overrides);
    json.at("zip").get_to(manifest.zip);
    for (const Json& axis : json.at("axes"))
        manifest.axes.push_back({axis.at("key").get<std::string>(), axis.at("values").get<std::vector<std::string>>()});
    for (const Json& run : json.at("runs")) {
        SweepRun one{.folder = checked_folder(run.at("folder").get<std::string>()),
                     .overrides = run.at("overrides").get<std::vector<std::string>>(),
                     .state = state_named(run.at("state").get<std::string>())};
        if (!run.at("exit").is_null()) one.exit = run.at("exit").get<int>();
        run.at("message").get_to(one.message);
        one.data_sha256 = run.value("data_sha256", "");
        manifest.runs.push_back(std::move(one));
    }
    std::set<std::string> folders;
    for (const SweepRun& run : manifest.runs)
        if (!folders.insert(run.folder).second)
            throw IoError(fmt::format("has two runs in the folder \"{}\"", run.folder));
    return manifest;
}

std::string path_in(const std::string& sweep) { return sweep + "/" + manifest_name; }

void write(const Folder& folder, const Manifest& manifest) {
    const std::string text = manifest_text(manifest);
    write_file_atomically(folder, manifest_name, std::as_bytes(std::span(text)));
}

}  // namespace

// Texts of others may hold bytes that are no UTF-8.
std::string manifest_text(const Manifest& manifest) {
    return to_json(manifest).dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string name_of(SweepState state) {
    return std::ranges::find(states, state, [](const auto& entry) { return entry.first; })->second;
}

SweepRun& Manifest::run(std::size_t task) {
    if (task >= runs.size())
        throw IoError(
            fmt::format("{}: holds {} runs, and no number {}; was it changed?", manifest_name, runs.size(), task));
    return runs[task];
}

std::vector<std::string> Manifest::overrides_of(const SweepRun& run) const {
    std::vector<std::string> all = overrides;
    all.insert(all.end(), run.overrides.begin(), run.overrides.end());
    return all;
}

void Manifest::require_complete(const std::string& sweep) const {
    const auto refuse = [&](const std::string& what) { throw IoError(fmt::format("{}: {}", path_in(sweep), what)); };
    if (axes.empty() || runs.empty()) refuse("has no axes or no runs");
    for (const SweepAxis& axis : axes)
        if (axis.values.empty()) refuse(fmt::format("has no values of {}", axis.key));
    for (const SweepRun& run : runs)
        if (run.overrides.size() != axes.size())
            refuse(
                fmt::format("has a run \"{}\" that sets {} of {} keys", run.folder, run.overrides.size(), axes.size()));
}

bool is_sweep(const std::string& folder) { return path_exists(path_in(folder)); }

Manifest read_manifest(const std::string& sweep) {
    const std::string path = path_in(sweep);
    const std::string text = read_file(path);
    try {
        return from_json(Json::parse(text));
    } catch (const Json::exception& error) {
        throw IoError(fmt::format("{}: is no manifest of a sweep: {}", path, error.what()));
    } catch (const IoError& error) {
        throw IoError(fmt::format("{}: {}", path, error.what()));
    }
}

void write_manifest(const std::string& sweep, const Manifest& manifest) { write(Folder(sweep), manifest); }

Manifest change_manifest(const std::string& sweep, const std::function<void(Manifest&)>& change) {
    const Folder folder(sweep);
    const FileLock lock(folder, manifest_name);
    Manifest manifest = read_manifest(sweep);
    change(manifest);
    write(folder, manifest);
    return manifest;
}

std::vector<std::string> runs_of(const std::string& path) {
    const std::string folder = run_folder_of(path);
    if (!is_sweep(folder)) return {folder};
    std::vector<std::string> runs;
    for (const SweepRun& run : read_manifest(folder).runs) {
        const std::string each = without_slash(folder) + "/" + run.folder;
        if (path_exists(RunPaths(each).log)) runs.push_back(each);
    }
    return runs;
}

}  // namespace headscope::experiments
