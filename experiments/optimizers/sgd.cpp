#include "optim/sgd.h"

#include <utility>

#include "experiments/optimizers/optimizer.h"

namespace headscope::experiments {

namespace {

class SgdSettings : public OptimizerSettings {
public:
    void fields(Fields& fields) override {
        fields.real("momentum", options_.momentum, "share of the last step that is kept", {.min = 0, .below = 1});
        fields.boolean("nesterov", options_.nesterov, "look ahead by the momentum");
    }
    std::vector<KeyProblem> check() const override {
        if (!options_.nesterov || options_.momentum > 0) return {};
        return {{"nesterov", "needs momentum; set optimizer.momentum above 0"}};
    }
    int states_per_parameter() const override { return options_.momentum > 0 ? 1 : 0; }
    std::unique_ptr<optim::Optimizer> build(std::vector<optim::ParameterGroup> groups) const override {
        return std::make_unique<optim::Sgd>(std::move(groups), options_);
    }

private:
    optim::SgdOptions options_;
};

const RegisterType<OptimizerSettings> registered_sgd("sgd", "gradient descent, with momentum if wanted",
                                                     [] { return std::make_unique<SgdSettings>(); });

}  // namespace

}  // namespace headscope::experiments
