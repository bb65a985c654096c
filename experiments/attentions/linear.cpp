#include "experiments/attentions/attention.h"

namespace headscope::experiments {

namespace {

class LinearSettings : public AttentionSettings {
public:
    void configure(nn::BlockOptions& options) const override { options.attention = AttentionKind::linear; }
};

const RegisterType<AttentionSettings> registered_linear(
    "linear", "phi(q) phi(k) over their sum, phi = elu + 1, for the visible keys",
    [] { return std::make_unique<LinearSettings>(); });

}  // namespace

}  // namespace headscope::experiments
