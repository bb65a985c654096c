#include <fmt/format.h>

#include "experiments/positions/position.h"

namespace headscope::experiments {

namespace {

class RotarySettings : public PositionSettings {
public:
    std::vector<KeyProblem> check(const ModelSizes& sizes) const override {
        if (sizes.head_dim % 2 == 0) return {};
        return {{"type", fmt::format("turns pairs and needs an even head_dim, got {}; change model.head_dim, or "
                                     "model.d_model and model.num_heads",
                                     sizes.head_dim)}};
    }
    void configure(nn::TransformerOptions& options) const override { options.position = nn::PositionEncoding::rotary; }
};

const RegisterType<PositionSettings> registered_rotary(
    "rotary", "q and k of every head turned by angles that grow with the position",
    [] { return std::make_unique<RotarySettings>(); });

}  // namespace

}  // namespace headscope::experiments
