// A new run that begins where a past run was after some step, with something changed: the old run is its exact control.
#pragma once

#include <cstdint>
#include <string>

#include "experiments/storage/run_lock.h"
#include "experiments/training/past_run.h"

namespace headscope::experiments {

/// Makes OUT a run that stands at step `step` of `parent`, ready for resume_run(): config.toml of
/// `changed`, whose history says what holds at which step, checkpoints/start.h5, and a log with the parent's rows
/// before `step` (none when the task was changed: other data have other series), an event, and root attributes lineage
/// = "fork", parent, parent_run_id, parent_step, changes. `data_change`, if any, goes into an event of kind "data".
/// Everything may be changed but what gives the weights other shapes or another type; with another optimizer its state
/// begins anew. Throws UsageError for such a change, for a step that the parent does not have or that is not before the
/// end of the changed run, and when OUT exists; what state_at() throws. OUT is gone then. What a killed process left of
/// a fork is no run, and is made anew. Returns the lock of OUT.
RunLock make_fork(const PastRun& parent, const Experiment& changed, std::int64_t step, const std::string& changes,
                  const std::string& data_change, const std::string& out, const RunHooks& hooks);

}  // namespace headscope::experiments
