// What [schedule] type = "..." may be: how the learning rate goes on. The formulas are in optim/schedule.h; one file
// each in experiments/schedules/ says which keys a schedule has.
//
// Adding one: write schedules/<name>.cpp with a ScheduleSettings, end it with
//   const RegisterType<ScheduleSettings> registered_<name>("<name>", "what it is in one line", [] { return
//   std::make_unique<MySettings>();
//   });
// and a test; the build finds both.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "experiments/base/fields.h"
#include "experiments/base/registry.h"
#include "optim/schedule.h"

namespace headscope::experiments {

/// What a schedule may depend on besides its own keys.
struct ScheduleContext {
    std::int64_t warmup_steps;
    std::int64_t d_model;
};

/// The keys of [schedule] for one type, but `type` and `warmup_steps`, which all have.
class ScheduleSettings {
public:
    static constexpr KindText kind{"schedule", "schedules", "how the learning rate goes on: schedule.type"};
    virtual ~ScheduleSettings() = default;
    virtual void fields(Fields&) {}
    /// What is wrong between keys (each in range already): the rest of a sentence that begins with the key.
    virtual std::vector<KeyProblem> check(const ScheduleContext&) const { return {}; }
    virtual std::unique_ptr<optim::Schedule> build(const ScheduleContext& context) const = 0;
};

}  // namespace headscope::experiments
