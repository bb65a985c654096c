// Progress and speed of a training run.
#pragma once

#include <chrono>
#include <cstdint>

namespace headscope::experiments {

/// What a reporter sees after each step.
struct Progress {
    std::int64_t step;         ///< updates done
    std::int64_t steps;        ///< updates to do
    double loss;               ///< of this step's batch, nat per token; NaN when no target is scored
    double tokens_per_second;  ///< over the last second
    double seconds_left;
};

/// Steps and time left, from the speed of the last seconds.
class Speedometer {
public:
    /// Call it once a step. `tokens`: how many the step has read.
    Progress progress(std::int64_t step, std::int64_t steps, double loss, std::int64_t tokens) {
        tokens_ += tokens;
        ++steps_;
        const double seconds = std::chrono::duration<double>(Clock::now() - mark_).count();
        if (seconds >= 1 || tokens_per_second_ == 0) {
            tokens_per_second_ = static_cast<double>(tokens_) / seconds;
            seconds_per_step_ = seconds / static_cast<double>(steps_);
        }
        if (seconds >= 1) {
            tokens_ = steps_ = 0;
            mark_ = Clock::now();
        }
        return {step, steps, loss, tokens_per_second_, seconds_per_step_ * static_cast<double>(steps - step)};
    }

private:
    using Clock = std::chrono::steady_clock;
    Clock::time_point mark_ = Clock::now();
    std::int64_t tokens_ = 0;
    std::int64_t steps_ = 0;
    double tokens_per_second_ = 0;
    double seconds_per_step_ = 0;
};

}  // namespace headscope::experiments
