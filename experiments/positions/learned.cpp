#include "experiments/positions/position.h"

namespace headscope::experiments {

namespace {

class LearnedSettings : public PositionSettings {
public:
    void configure(nn::TransformerOptions& options) const override { options.position = nn::PositionEncoding::learned; }
};

const RegisterType<PositionSettings> registered_learned("learned", "a trained row per position, added to the embedding",
                                                        [] { return std::make_unique<LearnedSettings>(); });

}  // namespace

}  // namespace headscope::experiments
