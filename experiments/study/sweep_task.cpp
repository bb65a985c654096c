#include "experiments/study/sweep_task.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <thread>
#include <vector>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "experiments/config/writer.h"
#include "experiments/storage/run_folder.h"
#include "experiments/study/sweep_plan.h"
#include "experiments/training/run.h"

namespace headscope::experiments {

namespace {

std::string folder_of_run(const std::string& sweep, const SweepRun& run) {
    return without_slash(sweep) + "/" + run.folder;
}

/// A process that was told to end may still write its checkpoint.
void wait_for(const std::string& run, const RunHooks& hooks) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (is_locked(run).value_or(false) && std::chrono::steady_clock::now() < end) {
        if (hooks.stop != nullptr && hooks.stop->load())
            throw Stopped(run + ": stopped while another process trains in it");
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
}

/// A process that was killed before the run had its config leaves a folder with nothing, which is begun again.
void remove_empty(const std::string& run) {
    remove_temporary_files_of_run(Folder(run));
    ::rmdir(run.c_str());
}

/// Keys that a run settles only when it has seen its data, or that say where these are.
bool is_settled_later(const std::string& key) {
    return key == "train.batch_size" || key == "model.max_len" || is_data_path(key);
}

/// The keys in which the config of the run in `folder` is not the one that the manifest wants there.
std::vector<std::string> differences(const std::string& folder, const Manifest& manifest, const SweepRun& run) {
    const std::map<std::string, std::string> wanted = config_values(config_of(manifest, run)),
                                             found = config_values(load_config(RunPaths(folder).config));
    std::vector<std::string> keys;
    for (const auto& [key, value] : wanted)
        if (const auto other = found.find(key);
            !is_settled_later(key) && (other == found.end() || other->second != value))
            keys.push_back(key);
    return keys;
}

bool holds_finished(const std::string& folder, const Manifest& manifest, const SweepRun& run) {
    return path_exists(RunPaths(folder).config) && path_exists(RunPaths(folder).log) &&
           differences(folder, manifest, run).empty();
}

/// Keys of the task that a run sets: the runs that set the same are about the same data.
std::vector<std::string> task_overrides(const SweepRun& run) {
    std::vector<std::string> found;
    for (const std::string& text : run.overrides)
        if (text.starts_with("task")) found.push_back(text);
    return found;
}

/// Notes the digest of a run's data. Runs of one sweep are compared, so they train on the same.
void note_data(const std::string& sweep, std::size_t task, const std::string& digest) {
    change_manifest(sweep, [&](Manifest& now) {
        SweepRun& run = now.run(task);
        for (const SweepRun& other : now.runs)
            if (!digest.empty() && !other.data_sha256.empty() && other.data_sha256 != digest &&
                task_overrides(other) == task_overrides(run))
                throw UsageError(
                    fmt::format("the data have changed since the sweep began: SHA-256 {}, and {} was trained "
                                "on {}; put them back, or begin another sweep",
                                digest, other.folder, other.data_sha256));
        run.data_sha256 = digest;
    });
}

void train(const std::string& sweep, std::size_t task, const Manifest& manifest, const SweepRun& run,
           const RunHooks& hooks) {
    const std::string folder = folder_of_run(sweep, run);
    if (path_exists(folder)) {
        wait_for(folder, hooks);
        if (path_exists(RunPaths(folder).config)) {
            if (const auto keys = differences(folder, manifest, run); !keys.empty())
                throw UsageError(fmt::format("{} holds a run of another config, by {}; move it elsewhere", folder,
                                             fmt::join(keys, ", ")));
            resume_run(folder, {}, {.hooks = hooks});
            return;
        }
        remove_empty(folder);
    }
    const Experiment experiment = build_experiment(config_of(manifest, run));
    note_data(sweep, task, experiment.task->data_sha256());
    for (const std::string& note : experiment.notes()) hooks.message(note);
    start_run(experiment, {.out = folder, .hooks = hooks});
}

}  // namespace

void run_sweep_task(const std::string& sweep, std::size_t task, const RunHooks& hooks) {
    const Manifest manifest = read_manifest(sweep);
    manifest.require_complete(sweep);
    if (task >= manifest.runs.size())
        throw UsageError(fmt::format("sweep: {} has the runs 0 to {}, not {}", sweep, manifest.runs.size() - 1, task));
    const SweepRun& run = manifest.runs[task];
    const std::string folder = folder_of_run(sweep, run);
    if (run.state == SweepState::finished && path_exists(RunPaths(folder).log)) return;
    change_manifest(sweep, [&](Manifest& now) {
        now.run(task).state = SweepState::running;
        now.run(task).message.clear();
    });
    try {
        train(sweep, task, manifest, run, hooks);
        note_end_of_task(sweep, task, exit_done, "");
    } catch (const std::exception& error) {
        note_end_of_task(sweep, task, exit_code_of(error), error.what());
        throw;
    }
}

void note_end_of_task(const std::string& sweep, std::size_t task, int exit, const std::string& message) {
    change_manifest(sweep, [&](Manifest& now) {
        SweepRun& run = now.run(task);
        run.exit = exit;
        run.state = exit == exit_done      ? SweepState::finished
                    : exit == exit_stopped ? SweepState::stopped
                                           : SweepState::failed;
        run.message = run.state == SweepState::failed ? message : "";
    });
}

void settle_states(const std::string& sweep, Manifest& manifest) {
    for (SweepRun& run : manifest.runs) {
        const std::string folder = folder_of_run(sweep, run);
        if (run.state == SweepState::waiting) continue;
        if (!path_exists(folder)) {
            if (run.state != SweepState::failed) run.state = SweepState::waiting;
        } else if (run.state == SweepState::running && !is_locked(folder).value_or(false)) {
            run.state = SweepState::stopped;
        } else if (run.state == SweepState::finished && !holds_finished(folder, manifest, run)) {
            run.state = SweepState::stopped;
        }
    }
}

bool is_left_to_do(const SweepRun& run) {
    if (run.state == SweepState::finished) return false;
    return run.state != SweepState::failed || run.exit != exit_numeric;
}

}  // namespace headscope::experiments
