#include "experiments/positions/position_type.h"

namespace headscope {

namespace {

class LearnedSettings : public PositionSettings {
public:
    void configure(nn::TransformerOptions& options) const override { options.position = nn::PositionEncoding::learned; }
};

const RegisterPosition registered("learned", "a trained row per position, added to the embedding",
                                  [] { return std::make_unique<LearnedSettings>(); });

}  // namespace

}  // namespace headscope
