// A run as a function: folder, lock, config, training, and what is left behind when it fails. Any C++ program may call
// these; they print nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "experiments/config/config.h"
#include "experiments/storage/checkpoint.h"
#include "experiments/storage/log_comparison.h"
#include "experiments/training/run_hooks.h"

namespace headscope::experiments {

struct RunOptions {
    std::string out = {};                       ///< folder to make; empty: the default that the function names
    std::optional<int> threads = std::nullopt;  ///< for this call; none: what the calling thread uses
    RunHooks hooks = {};
    bool other_data = false;  ///< resume and fork: train on other data than the run's, and leave an event that says so
};

struct RunResult {
    std::string folder;
    std::int64_t steps_done = 0;
    bool was_finished = false;  ///< a continued run was at its end already, and nothing was changed
};

/// Trains a new run in runs/<name>-s<seed>. A run that fails before its first log leaves no folder. Throws UsageError
/// when the folder exists, NumericError, IoError, Stopped.
RunResult start_run(const Experiment& experiment, const RunOptions& options = {});

/// Goes on with a run that was stopped or killed, from its newest good checkpoint (from the start, when it died before
/// its first). `overrides` may change what may_change_on_resume() allows, and say where the data are; the log keeps
/// from which step on (config_history.h). Throws UsageError, also for other data than the run's unless
/// options.other_data; NumericError, IoError, Stopped.
RunResult resume_run(const std::string& folder, const std::vector<std::string>& overrides = {},
                     const RunOptions& options = {});

/// Trains a new run, in <run>-fork-<step>, that begins where `run` was after `step` updates, with something changed:
/// the old run is its exact control. What `run` changed when it was resumed, at later steps than `step` too, the fork
/// does at the same steps, unless `overrides` say otherwise. Throws what fork.h and start_run() do, and UsageError for
/// other data than the run's unless options.other_data.
RunResult fork_run(const std::string& run, std::int64_t step, const std::vector<std::string>& overrides,
                   const RunOptions& options = {});

struct ReplayResult {
    std::string folder;
    std::int64_t from, to;
    LogComparison compared;
};
/// Computes steps `from` to `to` of a run again (default: all), with other probes, into
/// <run>-replay-<from>-<to>/log.h5; compares every row that the run has too. Throws what replay.h says.
ReplayResult replay_run(const std::string& run, std::optional<std::int64_t> from, std::optional<std::int64_t> to,
                        const std::vector<std::string>& overrides, const RunOptions& options = {});

/// Has a run with this checkpoint come to its end, by train.steps or by eval.patience?
bool is_finished(const Config& config, const Checkpoint& checkpoint);

}  // namespace headscope::experiments
