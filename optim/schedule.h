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

}  // namespace headscope::optim
