// `adam` and `adamw`, which differ in how weights decay.
#include "optim/adam.h"

#include <utility>

#include "experiments/optimizers/adam_fields.h"
#include "experiments/optimizers/optimizer.h"

namespace headscope::experiments {

namespace {

class AdamSettings : public OptimizerSettings {
public:
    explicit AdamSettings(bool decoupled) { options_.decoupled = decoupled; }
    void fields(Fields& fields) override { adam_fields(fields, options_); }
    int states_per_parameter() const override { return 2; }
    std::unique_ptr<optim::Optimizer> build(std::vector<optim::ParameterGroup> groups) const override {
        return std::make_unique<optim::Adam>(std::move(groups), options_);
    }

private:
    optim::AdamOptions options_;
};

const RegisterType<OptimizerSettings> adam(
    "adam", "steps scaled by the gradient's mean square; weight decay goes into the gradient",
    [] { return std::make_unique<AdamSettings>(false); });
const RegisterType<OptimizerSettings> adamw("adamw", "adam whose weight decay shrinks the weights themselves",
                                            [] { return std::make_unique<AdamSettings>(true); });

}  // namespace

}  // namespace headscope::experiments
