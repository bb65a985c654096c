// What [optimizer] type = "..." may be. The rule itself is optim/<name>.h; one file each in experiments/optimizers/
// says which keys it has.
//
// Adding one: write optim/<name>.{h,cpp} and optimizers/<name>.cpp with an OptimizerSettings, end it with
//   const RegisterType<OptimizerSettings> registered_<name>("<name>", "what it is in one line", [] { return
//   std::make_unique<MySettings>();
//   });
// and a test tests/optim/<name>_test.cpp; the build finds all of them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "experiments/base/fields.h"
#include "experiments/base/registry.h"
#include "optim/optimizer.h"

namespace headscope::experiments {

/// The keys of [optimizer] for one type, but `type`, `lr` and `weight_decay`, which all have.
class OptimizerSettings {
public:
    static constexpr KindText kind{"optimizer", "optimizers", "update rules: optimizer.type"};
    virtual ~OptimizerSettings() = default;
    virtual void fields(Fields& fields) = 0;
    /// What is wrong between keys (each in range already): the rest of a sentence that begins with the key.
    virtual std::vector<KeyProblem> check() const { return {}; }
    /// Tensors of a parameter's size that it keeps, at most, per parameter.
    virtual int states_per_parameter() const = 0;
    /// The groups hold lr and weight_decay.
    virtual std::unique_ptr<optim::Optimizer> build(std::vector<optim::ParameterGroup> groups) const = 0;
};

}  // namespace headscope::experiments
