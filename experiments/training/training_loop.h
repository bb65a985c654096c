// The one loop in which models are trained: by new and continued runs, by replays, and on the way to a past step.
#pragma once

#include <atomic>
#include <cstdint>

#include "experiments/training/observer.h"
#include "experiments/training/training_state.h"

namespace headscope::experiments {

/// Where a loop ends.
struct LoopEnd {
    std::int64_t step;             ///< updates done by then, at most
    bool looks_at_weights = true;  ///< false: it ends without showing the observers the weights after the last update
};

/// Thrown by the loop, or by an observer between two passes, when `stop` is set. The state is that of a whole number of
/// steps.
struct StopRequested {};

/// Shows the observers the weights, does a step, and so on. Throws StopRequested when `stop`, which may be null, is
/// set; what step() and the observers throw.
void run_training_loop(TrainingState& state, const Observers& observers, LoopEnd end, const std::atomic<bool>* stop);

}  // namespace headscope::experiments
