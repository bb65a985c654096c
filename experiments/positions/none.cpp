#include "experiments/positions/position.h"

namespace headscope::experiments {

namespace {

class NoneSettings : public PositionSettings {
public:
    void configure(nn::TransformerOptions& options) const override { options.position = nn::PositionEncoding::none; }
};

const RegisterType<PositionSettings> registered_none("none",
                                                     "nothing; only a causal mask tells tokens apart by their place",
                                                     [] { return std::make_unique<NoneSettings>(); });

}  // namespace

}  // namespace headscope::experiments
