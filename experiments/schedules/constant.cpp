#include "experiments/schedules/schedule_type.h"

namespace headscope {

namespace {

class ConstantSettings : public ScheduleSettings {
public:
    std::unique_ptr<optim::Schedule> build(const ScheduleContext& context) const override {
        return std::make_unique<optim::ConstantSchedule>(context.warmup_steps);
    }
};

const RegisterSchedule registered("constant", "stays as it is after warm-up",
                                  [] { return std::make_unique<ConstantSettings>(); });

}  // namespace

}  // namespace headscope
