#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "autograd/tensor.h"

namespace headscope::optim {

double warmup_factor(std::int64_t step, std::int64_t warmup_steps) {
    if (warmup_steps <= 0) return 1;
    return std::min(1.0, static_cast<double>(step + 1) / static_cast<double>(warmup_steps));
}

namespace {

/// Share of the run that lies behind; 0 in a run without steps.
double progress_of(std::int64_t step, std::int64_t steps) {
    return steps > 0 ? static_cast<double>(step) / static_cast<double>(steps) : 0;
}

}  // namespace

double ConstantSchedule::factor(std::int64_t step, std::int64_t /*steps*/) const {
    return warmup_factor(step, warmup_steps_);
}

double LinearSchedule::factor(std::int64_t step, std::int64_t steps) const {
    return warmup_factor(step, warmup_steps_) * (final_ratio_ + (1 - final_ratio_) * (1 - progress_of(step, steps)));
}

double CosineSchedule::factor(std::int64_t step, std::int64_t steps) const {
    const double cosine = (1 + std::cos(std::numbers::pi * progress_of(step, steps))) / 2;
    return warmup_factor(step, warmup_steps_) * (final_ratio_ + (1 - final_ratio_) * cosine);
}

NoamSchedule::NoamSchedule(std::int64_t warmup_steps, std::int64_t d_model)
    : warmup_steps_(static_cast<double>(warmup_steps)), d_model_(static_cast<double>(d_model)) {
    if (warmup_steps < 1) throw Error("noam: warmup_steps must be at least 1; it is " + std::to_string(warmup_steps));
    if (d_model < 1) throw Error("noam: d_model must be at least 1; it is " + std::to_string(d_model));
}

double NoamSchedule::factor(std::int64_t step, std::int64_t /*steps*/) const {
    const double number = static_cast<double>(step + 1);
    return std::min(1 / std::sqrt(number), number / (warmup_steps_ * std::sqrt(warmup_steps_))) / std::sqrt(d_model_);
}

}  // namespace headscope::optim
