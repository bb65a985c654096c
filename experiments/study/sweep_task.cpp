#include "experiments/study/sweep_task.h"

#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "experiments/storage/run_folder.h"
#include "experiments/study/sweep_plan.h"
#include "experiments/training/run.h"

namespace headscope::experiments {

namespace {

std::string folder_of_run(const std::string& sweep, const SweepRun& run) {
    return without_slash(sweep) + "/" + run.folder;
}

/// A process that was told to end may still write its checkpoint.
void wait_for(const std::string& run) {
    constexpr int patience = 60;  // s
    for (int tenths = 0; tenths < 10 * patience && is_locked(run).value_or(false); ++tenths)
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
}

/// A process that was killed before the run had its config leaves a folder with nothing, which is begun again.
void remove_empty(const std::string& run) {
    remove_temporary_files_of_run(Folder(run));
    std::error_code ignored;
    std::filesystem::remove(run, ignored);
}

void train(const std::string& folder, const Manifest& manifest, const SweepRun& run, const RunHooks& hooks) {
    if (path_exists(folder)) {
        wait_for(folder);
        if (path_exists(RunPaths(folder).config)) {
            resume_run(folder, {}, {.hooks = hooks});
            return;
        }
        remove_empty(folder);
    }
    const Experiment experiment = build_experiment(config_of(manifest, run));
    for (const std::string& note : experiment.notes()) hooks.message(note);
    start_run(experiment, {.out = folder, .hooks = hooks});
}

}  // namespace

void run_sweep_task(const std::string& sweep, std::size_t task, const RunHooks& hooks) {
    const Manifest manifest = read_manifest(sweep);
    if (task >= manifest.runs.size())
        throw UsageError(fmt::format("sweep: {} has the runs 0 to {}, not {}", sweep, manifest.runs.size() - 1, task));
    const SweepRun& run = manifest.runs[task];
    const std::string folder = folder_of_run(sweep, run);
    if (run.state == SweepState::finished && path_exists(RunPaths(folder).log)) return;
    change_manifest(sweep, [&](Manifest& now) {
        now.runs[task].state = SweepState::running;
        now.runs[task].message.clear();
    });
    try {
        train(folder, manifest, run, hooks);
        note_end_of_task(sweep, task, exit_done, "");
    } catch (const std::exception& error) {
        note_end_of_task(sweep, task, exit_code_of(error), error.what());
        throw;
    }
}

void note_end_of_task(const std::string& sweep, std::size_t task, int exit, const std::string& message) {
    change_manifest(sweep, [&](Manifest& now) {
        SweepRun& run = now.runs[task];
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
        }
    }
}

bool is_left_to_do(const SweepRun& run) {
    if (run.state == SweepState::finished) return false;
    return run.state != SweepState::failed || run.exit != exit_numeric;
}

}  // namespace headscope::experiments
