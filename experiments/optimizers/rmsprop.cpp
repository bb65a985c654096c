#include "optim/rmsprop.h"

#include <utility>

#include "experiments/optimizers/optimizer.h"

namespace headscope::experiments {

namespace {

class RmsPropSettings : public OptimizerSettings {
public:
    void fields(Fields& fields) override {
        fields.real("alpha", options_.alpha, "memory of the gradient's square", {.min = 0, .below = 1});
        fields.real("eps", options_.eps, "added to the root of the mean square", {.min = 0});
    }
    int states_per_parameter() const override { return 1; }
    std::unique_ptr<optim::Optimizer> build(std::vector<optim::ParameterGroup> groups) const override {
        return std::make_unique<optim::RmsProp>(std::move(groups), options_);
    }

private:
    optim::RmsPropOptions options_;
};

const RegisterType<OptimizerSettings> registered_rmsprop("rmsprop",
                                                         "the gradient divided by the root of its mean square",
                                                         [] { return std::make_unique<RmsPropSettings>(); });

}  // namespace

}  // namespace headscope::experiments
