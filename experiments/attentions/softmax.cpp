#include "experiments/attentions/attention_type.h"

namespace headscope {

namespace {

class SoftmaxSettings : public AttentionSettings {
public:
    bool takes_alibi() const override { return true; }
    void configure(nn::BlockOptions& options) const override { options.attention = AttentionKind::softmax; }
};

const RegisterAttention registered("softmax", "softmax of q k^T / sqrt(d_k) over the visible keys",
                                   [] { return std::make_unique<SoftmaxSettings>(); });

}  // namespace

}  // namespace headscope
