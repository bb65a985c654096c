#include "experiments/norms/norm.h"
#include "nn/layer_norm.h"

namespace headscope::experiments {

namespace {

class LayerNormSettings : public NormSettings {
public:
    std::unique_ptr<nn::Norm> build(std::int64_t width) const override {
        return std::make_unique<nn::LayerNorm>(width);
    }
};

const RegisterType<NormSettings> registered_layer("layer", "layer normalisation, with weight and bias (Ba et al. 2016)",
                                                  [] { return std::make_unique<LayerNormSettings>(); });

}  // namespace

}  // namespace headscope::experiments
