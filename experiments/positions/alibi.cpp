#include "experiments/positions/position.h"

namespace headscope::experiments {

namespace {

class AlibiSettings : public PositionSettings {
public:
    void configure(nn::TransformerOptions& options) const override { options.position = nn::PositionEncoding::alibi; }
};

const RegisterType<PositionSettings> registered_alibi(
    "alibi", "scores lowered by the distance times a slope per head; needs an attention with such scores",
    [] { return std::make_unique<AlibiSettings>(); });

}  // namespace

}  // namespace headscope::experiments
