#include <fmt/format.h>

#include "experiments/positions/position.h"

namespace headscope::experiments {

namespace {

class SinusoidalSettings : public PositionSettings {
public:
    std::vector<KeyProblem> check(const ModelSizes& sizes) const override {
        if (sizes.d_model % 2 == 0) return {};
        return {
            {"type", fmt::format("pairs sines with cosines and needs an even model.d_model, got {}", sizes.d_model)}};
    }
    void configure(nn::TransformerOptions& options) const override {
        options.position = nn::PositionEncoding::sinusoidal;
    }
};

const RegisterType<PositionSettings> registered_sinusoidal("sinusoidal",
                                                           "fixed sines and cosines, added to the embedding",
                                                           [] { return std::make_unique<SinusoidalSettings>(); });

}  // namespace

}  // namespace headscope::experiments
