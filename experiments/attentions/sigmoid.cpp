#include "experiments/attentions/attention.h"
#include "nn/sigmoid_weights.h"

namespace headscope::experiments {

namespace {

class SigmoidSettings : public AttentionSettings {
public:
    bool takes_alibi() const override { return true; }
    void configure(nn::BlockOptions& options) const override { options.attention_weights = nn::sigmoid_weights; }
};

const RegisterType<AttentionSettings> registered_sigmoid(
    "sigmoid",
    "sigmoid of q k^T / sqrt(d_k) - ln n, n the number of visible keys; "
    "weights do not sum to 1 (Ramapuram et al. 2024)",
    [] { return std::make_unique<SigmoidSettings>(); });

}  // namespace

}  // namespace headscope::experiments
