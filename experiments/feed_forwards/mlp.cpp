#include "nn/mlp.h"

#include "experiments/feed_forwards/feed_forward.h"

namespace headscope::experiments {

namespace {

class MlpSettings : public FeedForwardSettings {
public:
    std::unique_ptr<nn::FeedForward> build(const nn::FeedForwardOptions& options) const override {
        return std::make_unique<nn::Mlp>(options);
    }
};

const RegisterType<FeedForwardSettings> registered_mlp("mlp", "linear1, activation, linear2 (Vaswani et al. 2017)",
                                                       [] { return std::make_unique<MlpSettings>(); });

}  // namespace

}  // namespace headscope::experiments
