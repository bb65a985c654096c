// One run of a sweep, by its number: begun, or gone on with where it stands. What a process of the sweep on this
// machine does, and a task of a job array on a cluster.
#pragma once

#include <cstddef>
#include <string>

#include "experiments/study/manifest.h"
#include "experiments/training/run_hooks.h"

namespace headscope::experiments {

/// Trains run number `task` of a sweep to its end, and writes its state into the manifest before and after. A finished
/// run is left as it is. Waits half a minute for a process that is about to leave the run's folder. Throws what
/// start_run() and resume_run() do.
void run_sweep_task(const std::string& sweep, std::size_t task, const RunHooks& hooks);

/// Writes how a process that trained a run has ended: the exit code, or the negative number of the signal that killed
/// it. `message`: its last words.
void note_end_of_task(const std::string& sweep, std::size_t task, int exit, const std::string& message);

/// What is true of the runs of a sweep that nobody works on: those whose process was killed are stopped, those whose
/// folder is gone wait.
void settle_states(const std::string& sweep, Manifest& manifest);

/// May the run be gone on with, or begun? Not when it is finished, nor when it met a number that is none, which it
/// would meet again. Other failures may be mended by now: a full disk, data that are not there.
bool is_left_to_do(const SweepRun& run);

}  // namespace headscope::experiments
