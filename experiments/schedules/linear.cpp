#include "experiments/schedules/schedule.h"

namespace headscope::experiments {

namespace {

class LinearSettings : public ScheduleSettings {
public:
    void fields(Fields& fields) override {
        fields.real("final_ratio", final_ratio_, "share of it that is left at the end", {.min = 0, .max = 1});
    }
    std::unique_ptr<optim::Schedule> build(const ScheduleContext& context) const override {
        return std::make_unique<optim::LinearSchedule>(context.warmup_steps, final_ratio_);
    }

private:
    double final_ratio_ = 0;
};

const RegisterType<ScheduleSettings> registered_linear(
    "linear", "at step s of N: lr min(1, (s + 1) / warmup_steps) (r + (1 - r) (1 - s / N)), r = final_ratio",
    [] { return std::make_unique<LinearSettings>(); });

}  // namespace

}  // namespace headscope::experiments
