#include "experiments/schedules/schedule.h"

namespace headscope::experiments {

namespace {

class CosineSettings : public ScheduleSettings {
public:
    void fields(Fields& fields) override {
        fields.real("final_ratio", final_ratio_, "share of it that is left at the end", {.min = 0, .max = 1});
    }
    std::unique_ptr<optim::Schedule> build(const ScheduleContext& context) const override {
        return std::make_unique<optim::CosineSchedule>(context.warmup_steps, final_ratio_);
    }

private:
    double final_ratio_ = 0;
};

const RegisterType<ScheduleSettings> registered_cosine(
    "cosine",
    "at step s of N: lr min(1, (s + 1) / warmup_steps) (r + (1 - r) (1 + cos(pi s / N)) / 2), r = final_ratio",
    [] { return std::make_unique<CosineSettings>(); });

}  // namespace

}  // namespace headscope::experiments
