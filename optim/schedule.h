// Learning-rate schedules: the factor that multiplies the base learning rate at a step.
#pragma once

#include <cstdint>
#include <memory>

namespace headscope::optim {

class Schedule {
public:
    virtual ~Schedule() = default;
    /// Factor at step s of N (s = 0 first).
    virtual double factor(std::int64_t step, std::int64_t steps) const = 0;
};

/// min(1, (s + 1) / warmup); 1 without warm-up.
double warmup_factor(std::int64_t step, std::int64_t warmup_steps);

/// min(1, (s + 1) / w).
class ConstantSchedule : public Schedule {
public:
    explicit ConstantSchedule(std::int64_t warmup_steps) : warmup_steps_(warmup_steps) {}
    double factor(std::int64_t step, std::int64_t steps) const override;

private:
    std::int64_t warmup_steps_;
};

/// min(1, (s + 1) / w) * (r + (1 - r) * (1 - s / N)) with r = final_ratio.
class LinearSchedule : public Schedule {
public:
    LinearSchedule(std::int64_t warmup_steps, double final_ratio)
        : warmup_steps_(warmup_steps), final_ratio_(final_ratio) {}
    double factor(std::int64_t step, std::int64_t steps) const override;

private:
    std::int64_t warmup_steps_;
    double final_ratio_;
};

/// min(1, (s + 1) / w) * (r + (1 - r) * (1 + cos(pi s / N)) / 2) with r = final_ratio.
class CosineSchedule : public Schedule {
public:
    CosineSchedule(std::int64_t warmup_steps, double final_ratio)
        : warmup_steps_(warmup_steps), final_ratio_(final_ratio) {}
    double factor(std::int64_t step, std::int64_t steps) const override;

private:
    std::int64_t warmup_steps_;
    double final_ratio_;
};

/// d_model^-0.5 * min((s + 1)^-0.5, (s + 1) * w^-1.5), from section 5.3 of Vaswani et al. 2017, whose first step has
/// number 1. It grows in a straight line for w steps, then falls as the root of the step; its largest value is
/// (d_model * w)^-0.5. The number of steps of the run has no part in it.
class NoamSchedule : public Schedule {
public:
    /// Throws Error when d_model or warmup_steps is below 1.
    NoamSchedule(std::int64_t warmup_steps, std::int64_t d_model);
    double factor(std::int64_t step, std::int64_t steps) const override;

private:
    double warmup_steps_;
    double d_model_;
};

}  // namespace headscope::optim
