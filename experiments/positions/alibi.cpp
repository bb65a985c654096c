#include "experiments/positions/position.h"

namespace headscope::experiments {

namespace {

class AlibiSettings : public PositionSettings {
public:
    void configure(nn::TransformerOptions& options) const override { options.position = nn::PositionEncoding::alibi; }
};

const RegisterType<PositionSettings> registered_alibi(
    "alibi",
    "scores lowered by the distance times 2^(-8 (h + 1) / H) for head h of H, whatever H is; needs an attention with "
    "such scores",
    [] { return std::make_unique<AlibiSettings>(); });

}  // namespace

}  // namespace headscope::experiments
