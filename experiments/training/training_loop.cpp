#include "experiments/training/training_loop.h"

#include <algorithm>

#include "autograd/floating_point.h"

namespace headscope::experiments {

void run_training_loop(TrainingState& state, const Observers& observers, LoopEnd end, const std::atomic<bool>* stop) {
    for (;;) {
        use_exact_arithmetic();  // whatever was loaded since main(), such as a filter that HDF5 found for the data
        const bool at_end = state.steps_done() == end.step;
        if (at_end && !end.looks_at_weights) return;
        if (stop != nullptr && stop->load()) throw StopRequested();
        for (Observer* observer : observers) observer->at_weights(state);
        const bool last = at_end || std::ranges::any_of(observers, [&](const Observer* observer) {
                              return observer->wants_end(state);
                          });
        for (Observer* observer : observers) observer->keep_weights(state, last);
        if (last) return;

        const StepResult result = state.step(observers);
        for (Observer* observer : observers) observer->after_step(state, result);
    }
}

}  // namespace headscope::experiments
