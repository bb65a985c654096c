// A window of a past run computed again, with any probes: what was not logged then can be had later.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "experiments/storage/log_comparison.h"
#include "experiments/training/past_run.h"

namespace headscope::experiments {

/// Throws UsageError that lists every override which a replay may not make: it may log more, or less, and look at the
/// weights of other steps, but never train otherwise (log.*, eval.every; where its data are; train.steps for a run that
/// was resumed with another number by a version that kept no history of its config).
void check_replay_overrides(const std::vector<std::string>& overrides);

/// Computes steps `from` to `to` again, both included, and leaves OUT/log.h5: a log like any other with the rows of
/// these steps, by the probes of `run`'s config then, and root attributes lineage = "replay", parent, parent_run_id,
/// parent_step (= from), changes (= the overrides). Row `to` is complete: its step is trained too, unless the run ended
/// there. Every row that the run has as well is compared. Throws UsageError when the window is not inside the run or
/// OUT exists, CheckFailed when a bit differs. Whatever is thrown, OUT is gone then. What a killed process left of a
/// replay holds no log.h5, and is made anew.
LogComparison replay(const PastRun& run, std::int64_t from, std::int64_t to, const std::string& changes,
                     const std::string& out, const RunHooks& hooks);

}  // namespace headscope::experiments
