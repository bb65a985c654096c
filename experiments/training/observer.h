// Who takes part in a training run besides the step itself: the recorder, evaluation, checkpoints, progress, the check
// against history. The loop (training_loop.h) calls them in the order in which they are given to it.
#pragma once

#include <vector>

namespace headscope::experiments {

struct Batch;
class TrainingState;
struct StepResult;

class Observer {
public:
    virtual ~Observer() = default;

    /// The weights after state.steps_done() updates: before the next step, and after the last.
    virtual void at_weights(TrainingState&) {}
    /// Asked after at_weights() of all: does training end here, though there are steps left to do?
    virtual bool wants_end(const TrainingState&) const { return false; }
    /// The same weights, once it is known whether they are the last.
    virtual void keep_weights(TrainingState&, bool /*last*/) {}

    // Inside a step:
    /// The gradients of the step's batch are complete. Clipping and the update follow.
    virtual void at_gradients(TrainingState&, const Batch&) {}
    /// Right before and right after the update, gradients as they were.
    virtual void before_update(TrainingState&) {}
    virtual void after_update(TrainingState&, const Batch&) {}

    /// The step is done, and steps_done() counts it.
    virtual void after_step(TrainingState&, const StepResult&) {}
};

using Observers = std::vector<Observer*>;

}  // namespace headscope::experiments
