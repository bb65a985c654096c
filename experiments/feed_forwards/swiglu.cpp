#include "nn/swiglu.h"

#include "experiments/feed_forwards/feed_forward.h"

namespace headscope::experiments {

namespace {

class SwiGluSettings : public FeedForwardSettings {
public:
    std::unique_ptr<nn::FeedForward> build(const nn::FeedForwardOptions& options) const override {
        return std::make_unique<nn::SwiGlu>(options);
    }
};

const RegisterType<FeedForwardSettings> registered_swiglu(
    "swiglu", "down(silu(gate x) * up x); model.activation is not used (Shazeer 2020)",
    [] { return std::make_unique<SwiGluSettings>(); });

}  // namespace

}  // namespace headscope::experiments
