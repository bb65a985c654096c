#include "optim/muon.h"

#include <utility>

#include "experiments/optimizers/adam_fields.h"
#include "experiments/optimizers/optimizer.h"

namespace headscope::experiments {

namespace {

class MuonSettings : public OptimizerSettings {
public:
    void fields(Fields& fields) override {
        fields.real("momentum", options_.momentum, "share of the last step that is kept, in the blocks' matrices",
                    {.min = 0, .below = 1});
        adam_fields(fields, options_.elsewhere);
    }
    int states_per_parameter() const override { return 2; }
    std::unique_ptr<optim::Optimizer> build(std::vector<optim::ParameterGroup> groups) const override {
        return std::make_unique<optim::Muon>(std::move(groups), options_);
    }

private:
    optim::MuonOptions options_;
};

const RegisterType<OptimizerSettings> registered("muon",
                                                 "orthogonalised steps for the blocks' matrices; adamw elsewhere",
                                                 [] { return std::make_unique<MuonSettings>(); });

}  // namespace

}  // namespace headscope::experiments
