#pragma once

#include "experiments/training/observer.h"
#include "experiments/training/run_hooks.h"
#include "experiments/training/training_state.h"

namespace headscope::experiments {

/// Tells RunHooks::on_step how far a loop from step `first` to step `end` has come.
class ProgressObserver : public Observer {
public:
    ProgressObserver(const RunHooks& hooks, std::int64_t first, std::int64_t end, std::int64_t tokens_seen)
        : hooks_(hooks), first_(first), end_(end), tokens_seen_(tokens_seen) {}

    void after_step(TrainingState& state, const StepResult& result) override {
        const std::int64_t tokens = state.tokens_seen() - tokens_seen_;
        tokens_seen_ = state.tokens_seen();
        if (!hooks_.on_step) return;
        hooks_.on_step(speed_.progress(state.steps_done() - first_, end_ - first_, result.loss, tokens));
    }

private:
    const RunHooks& hooks_;
    std::int64_t first_, end_, tokens_seen_;
    Speedometer speed_;
};

}  // namespace headscope::experiments
