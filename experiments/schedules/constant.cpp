#include "experiments/schedules/schedule.h"

namespace headscope::experiments {

namespace {

class ConstantSettings : public ScheduleSettings {
public:
    std::unique_ptr<optim::Schedule> build(const ScheduleContext& context) const override {
        return std::make_unique<optim::ConstantSchedule>(context.warmup_steps);
    }
};

const RegisterType<ScheduleSettings> registered_constant("constant", "stays as it is after warm-up",
                                                         [] { return std::make_unique<ConstantSettings>(); });

}  // namespace

}  // namespace headscope::experiments
