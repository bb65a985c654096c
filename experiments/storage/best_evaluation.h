// The best evaluation of a run, for checkpoints/best.h5 and for stopping early.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace headscope::experiments {

struct BestEvaluation {
    std::int64_t step = -1;  ///< of the lowest evaluation loss, the first of equals; -1: none yet
    double loss = std::numeric_limits<double>::infinity();
    std::int64_t since = 0;       ///< evaluations after it
    std::int64_t last_step = -1;  ///< of the newest evaluation counted

    /// Counts one more. An evaluation that is counted already changes nothing: a resumed run begins with evaluating
    /// the weights of its checkpoint again. A loss of NaN changes nothing: nothing was measured.
    void count(std::int64_t evaluated_step, double evaluated_loss) {
        if (evaluated_step <= last_step || std::isnan(evaluated_loss)) return;
        last_step = evaluated_step;
        if (evaluated_loss < loss) {
            step = evaluated_step;
            loss = evaluated_loss;
            since = 0;
        } else {
            ++since;
        }
    }

    /// Is it time to stop? A patience of 0 never ends.
    bool exhausted(std::int64_t patience) const { return patience > 0 && since >= patience; }
};

}  // namespace headscope::experiments
