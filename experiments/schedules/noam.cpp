#include "experiments/schedules/schedule.h"

namespace headscope::experiments {

namespace {

class NoamSettings : public ScheduleSettings {
public:
    std::vector<KeyProblem> check(const ScheduleContext& context) const override {
        if (context.warmup_steps >= 1) return {};
        return {{"warmup_steps", "must be at least 1 for schedule.type = \"noam\", for example 400"}};
    }
    std::unique_ptr<optim::Schedule> build(const ScheduleContext& context) const override {
        return std::make_unique<optim::NoamSchedule>(context.warmup_steps, context.d_model);
    }
};

const RegisterType<ScheduleSettings> registered_noam(
    "noam", "rises over warm-up, then falls as 1 / sqrt(step), all times d_model^-0.5",
    [] { return std::make_unique<NoamSettings>(); });

}  // namespace

}  // namespace headscope::experiments
