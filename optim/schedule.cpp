#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace headscope::optim {

double warmup_factor(std::int64_t step, std::int64_t warmup_steps) {
    if (warmup_steps <= 0) return 1;
    return std::min(1.0, static_cast<double>(step + 1) / static_cast<double>(warmup_steps));
}

double ConstantSchedule::factor(std::int64_t step, std::int64_t /*steps*/) const {
    return warmup_factor(step, warmup_steps_);
}

double CosineSchedule::factor(std::int64_t step, std::int64_t steps) const {
    const double progress = steps > 0 ? static_cast<double>(step) / static_cast<double>(steps) : 0;
    const double cosine = (1 + std::cos(std::numbers::pi * progress)) / 2;
    return warmup_factor(step, warmup_steps_) * (final_ratio_ + (1 - final_ratio_) * cosine);
}

}  // namespace headscope::optim
