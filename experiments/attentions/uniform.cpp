#include "experiments/attentions/attention.h"

namespace headscope::experiments {

namespace {

class UniformSettings : public AttentionSettings {
public:
    void configure(nn::BlockOptions& options) const override { options.attention = AttentionKind::uniform; }
};

const RegisterType<AttentionSettings> registered_uniform("uniform",
                                                         "the same for every visible key; q and k are not used",
                                                         [] { return std::make_unique<UniformSettings>(); });

}  // namespace

}  // namespace headscope::experiments
