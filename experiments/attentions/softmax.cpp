#include "experiments/attentions/attention.h"

namespace headscope::experiments {

namespace {

class SoftmaxSettings : public AttentionSettings {
public:
    bool takes_alibi() const override { return true; }
    void configure(nn::BlockOptions& options) const override { options.attention = AttentionKind::softmax; }
};

const RegisterType<AttentionSettings> registered_softmax("softmax",
                                                         "softmax of q k^T / sqrt(d_k) over the visible keys",
                                                         [] { return std::make_unique<SoftmaxSettings>(); });

}  // namespace

}  // namespace headscope::experiments
