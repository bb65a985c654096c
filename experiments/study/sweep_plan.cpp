#include "experiments/study/sweep_plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "experiments/base/errors.h"
#include "experiments/base/sha256.h"
#include "experiments/config/writer.h"

namespace headscope::experiments {

namespace {

constexpr std::size_t most_runs = 10000;

std::string key_of(const std::string& argument) {
    const std::string key = argument.substr(0, argument.find('='));
    return key.substr(0, key.find_last_not_of(" \t") + 1);
}

std::string value_of(const std::string& argument) {
    const std::size_t equals = argument.find('=');
    return equals == std::string::npos ? "" : argument.substr(equals + 1);
}

/// Sorts the arguments into axes and overrides of all runs.
void read_arguments(const std::vector<std::string>& arguments, Manifest& manifest) {
    std::set<std::string> keys;
    for (const std::string& argument : arguments) {
        const std::string key = key_of(argument);
        if (!keys.insert(key).second)
            throw UsageError(fmt::format("command line: {} is given twice; list its values, {}=a,b", key, key));
        if (is_sweep_of_values(value_of(argument))) manifest.axes.push_back({key, sweep_values(value_of(argument))});
        else manifest.overrides.push_back(argument);
    }
}

/// Adds the axes of [sweep] whose keys the command line leaves alone, before those that it names.
void add_axes_of_config(const std::vector<SweepAxis>& axes, Manifest& manifest) {
    std::vector<SweepAxis> all;
    for (const SweepAxis& axis : axes) {
        const auto same_key = [&](const auto& other) { return other == axis.key; };
        const bool replaced = std::ranges::any_of(manifest.axes, same_key, &SweepAxis::key);
        if (!replaced && !std::ranges::any_of(manifest.overrides, same_key, key_of)) all.push_back(axis);
    }
    all.insert(all.end(), manifest.axes.begin(), manifest.axes.end());
    manifest.axes = std::move(all);
}

void check_axes(const Manifest& manifest) {
    if (manifest.axes.empty())
        throw UsageError(
            "sweep: nothing to go through; list the values of a key, model.num_heads=2,8 or seed=0..4, here "
            "or in a table [sweep] of the config");
    for (const SweepAxis& axis : manifest.axes) {
        if (axis.key == "name")
            throw UsageError("sweep: `name` is no key to go through; the runs are told by their keys");
        std::set<std::string> seen;
        for (const std::string& value : axis.values)
            if (!seen.insert(value).second) throw UsageError(fmt::format("sweep: {} lists {} twice", axis.key, value));
        if (manifest.zip && axis.values.size() != manifest.axes.front().values.size())
            throw UsageError(fmt::format("sweep: --zip takes as many values of each key; {} has {} and {} has {}",
                                         manifest.axes.front().key, manifest.axes.front().values.size(), axis.key,
                                         axis.values.size()));
    }
}

/// The values of each run, one of each axis.
std::vector<std::vector<std::string>> combinations(const Manifest& manifest) {
    std::vector<std::vector<std::string>> runs(manifest.zip ? manifest.axes.front().values.size() : 1);
    for (const SweepAxis& axis : manifest.axes) {
        if (manifest.zip) {
            for (std::size_t i = 0; i < runs.size(); ++i) runs[i].push_back(axis.values[i]);
            continue;
        }
        if (runs.size() * axis.values.size() > most_runs)
            throw UsageError(fmt::format("sweep: more than {} runs", most_runs));
        std::vector<std::vector<std::string>> longer;
        for (const std::vector<std::string>& run : runs)
            for (const std::string& value : axis.values) {
                longer.push_back(run);
                longer.back().push_back(value);
            }
        runs = std::move(longer);
    }
    return runs;
}

/// The last part of a key, or all of it where another axis ends in the same.
std::string short_key(const std::string& key, const std::vector<SweepAxis>& axes) {
    const auto last = [](const std::string& path) { return path.substr(path.rfind('.') + 1); };
    const auto same = std::ranges::count_if(axes, [&](const SweepAxis& axis) { return last(axis.key) == last(key); });
    return same > 1 ? key : last(key);
}

/// What of a text may stand in the name of a folder.
std::string plain(const std::string& text) {
    constexpr std::size_t longest = 40;
    std::string result;
    for (const char c : text) {
        const bool kept = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '+' || c == '-';
        if (kept) result += c;
        else if (c != '"' && c != '\'' && c != ' ') result += '-';
    }
    return result.size() > longest ? result.substr(0, longest) : result;
}

std::string folder_name(const std::vector<SweepAxis>& axes, const std::vector<std::string>& values) {
    constexpr std::size_t longest = 180;
    std::string name;
    for (std::size_t i = 0; i < axes.size(); ++i)
        name += fmt::format("{}{}-{}", i > 0 ? "_" : "", short_key(axes[i].key, axes), plain(values[i]));
    return name.size() <= longest ? name : name.substr(0, longest) + "-" + sha256(name).substr(0, 8);
}

/// Runs get names of their own: where two are the same, the later one has a number behind it.
void add_run(Manifest& manifest, std::vector<std::string> overrides, const std::string& folder,
             std::set<std::string>& taken) {
    std::string name = folder;
    for (int number = 2; !taken.insert(name).second; ++number) name = fmt::format("{}-{}", folder, number);
    manifest.runs.push_back({.folder = name, .overrides = std::move(overrides)});
}

/// The config with the first value of each axis.
Config first_config(const Manifest& manifest) {
    std::vector<std::string> overrides = manifest.overrides;
    for (const SweepAxis& axis : manifest.axes) overrides.push_back(axis.key + "=" + axis.values.front());
    return parse_config(manifest.config, manifest.config_path, overrides);
}

/// What the config says but for the axes.
std::map<std::string, std::string> base_values(const Manifest& manifest) {
    std::map<std::string, std::string> values = config_values(first_config(manifest));
    for (const SweepAxis& axis : manifest.axes) values.erase(axis.key);
    return values;
}

void require_same_base(const Manifest& old, const Manifest& wanted) {
    // With the same first value of each axis, what follows from it is the same as well.
    Manifest first = wanted;
    first.axes = old.axes;
    const std::map<std::string, std::string> before = base_values(old), now = base_values(first);
    std::vector<std::string> changed;
    for (const auto& [key, value] : before)
        if (const auto found = now.find(key); found == now.end() || found->second != value) changed.push_back(key);
    for (const auto& [key, value] : now)
        if (!before.contains(key)) changed.push_back(key);
    if (!changed.empty())
        throw UsageError(
            fmt::format("sweep: the config has changed since the sweep began ({}); put it back, or begin "
                        "another sweep with --out",
                        fmt::join(changed, ", ")));
}

std::vector<std::string> keys_of(const std::vector<SweepAxis>& axes) {
    std::vector<std::string> keys;
    for (const SweepAxis& axis : axes) keys.push_back(axis.key);
    return keys;
}

}  // namespace

Config config_of(const Manifest& manifest, const SweepRun& run) {
    return parse_config(manifest.config, manifest.config_path, manifest.overrides_of(run));
}

Manifest plan_sweep(const SweepRequest& request) {
    Manifest manifest{.config_path = request.config_path,
                      .config = request.config,
                      .working_folder = std::filesystem::current_path().string()};
    read_arguments(request.arguments, manifest);
    const Config base = first_config(manifest);
    manifest.name = base.name;
    manifest.zip = request.zip || base.sweep.zip;
    add_axes_of_config(base.sweep.axes, manifest);
    check_axes(manifest);
    std::set<std::string> taken;
    for (const std::vector<std::string>& values : combinations(manifest)) {
        std::vector<std::string> overrides;
        for (std::size_t i = 0; i < values.size(); ++i) overrides.push_back(manifest.axes[i].key + "=" + values[i]);
        add_run(manifest, std::move(overrides), folder_name(manifest.axes, values), taken);
    }
    for (const SweepRun& run : manifest.runs) config_of(manifest, run);  // every combination must be one
    return manifest;
}

Manifest extended_sweep(const Manifest& old, const Manifest& wanted) {
    if (keys_of(old.axes) != keys_of(wanted.axes))
        throw UsageError(fmt::format("sweep: the sweep goes through {}, not through {}; begin another one with --out",
                                     fmt::join(keys_of(old.axes), ", "), fmt::join(keys_of(wanted.axes), ", ")));
    require_same_base(old, wanted);
    Manifest all = old;
    std::set<std::string> taken;
    for (const SweepRun& run : old.runs) taken.insert(run.folder);
    for (const SweepRun& run : wanted.runs)
        if (!std::ranges::any_of(old.runs, [&](const SweepRun& other) { return other.overrides == run.overrides; }))
            add_run(all, run.overrides, run.folder, taken);
    for (std::size_t i = 0; i < all.axes.size(); ++i)
        for (const std::string& value : wanted.axes[i].values)
            if (std::ranges::find(all.axes[i].values, value) == all.axes[i].values.end())
                all.axes[i].values.push_back(value);
    return all;
}

}  // namespace headscope::experiments
