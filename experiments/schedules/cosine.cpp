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

const RegisterType<ScheduleSettings> registered_cosine("cosine",
                                                       "falls along half a cosine from the first step to the last",
                                                       [] { return std::make_unique<CosineSettings>(); });

}  // namespace

}  // namespace headscope::experiments
