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

const RegisterType<ScheduleSettings> registered_linear("linear",
                                                       "falls in a straight line from the first step to the last",
                                                       [] { return std::make_unique<LinearSettings>(); });

}  // namespace

}  // namespace headscope::experiments
