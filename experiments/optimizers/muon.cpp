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
        fields.real("adamw_lr", adamw_lr_, "learning rate of what adamw updates; default optimizer.lr", {.min = 0});
        adam_fields(fields, options_.elsewhere);
    }
    int states_per_parameter() const override { return 2; }
    std::unique_ptr<optim::Optimizer> build(std::vector<optim::ParameterGroup> groups) const override {
        optim::MuonOptions options = options_;
        if (adamw_lr_ >= 0) {
            const double lr = groups.front().lr / groups.front().lr_scale;
            if (!(lr > 0)) throw Error("optimizer.adamw_lr needs optimizer.lr above 0: schedules scale both alike");
            options.elsewhere_lr_ratio = adamw_lr_ / lr;
        }
        return std::make_unique<optim::Muon>(std::move(groups), options);
    }

private:
    optim::MuonOptions options_;
    double adamw_lr_ = -1;  // below 0: not set
};

const RegisterType<OptimizerSettings> registered_muon("muon",
                                                      "orthogonalised steps for the blocks' matrices; adamw elsewhere",
                                                      [] { return std::make_unique<MuonSettings>(); });

}  // namespace

}  // namespace headscope::experiments
