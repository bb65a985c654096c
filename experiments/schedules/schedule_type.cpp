#include "experiments/schedules/schedule_type.h"

#include <utility>

#include "experiments/registry.h"

namespace headscope {

namespace {

// Inside a function, so that it exists before the first static RegisterSchedule, whichever file that is in.
Registry<ScheduleType>& registry() {
    static Registry<ScheduleType> types("schedule");
    return types;
}

}  // namespace

const std::vector<ScheduleType>& schedule_types() { return registry().all(); }

const ScheduleType* find_schedule_type(const std::string& name) { return registry().find(name); }

RegisterSchedule::RegisterSchedule(std::string name, std::string doc,
                                   std::function<std::unique_ptr<ScheduleSettings>()> settings) {
    registry().add({std::move(name), std::move(doc), std::move(settings)});
}

}  // namespace headscope
