#include "experiments/positions/position_type.h"

namespace headscope {

namespace {

class NoneSettings : public PositionSettings {
public:
    void configure(nn::TransformerOptions& options) const override { options.position = nn::PositionEncoding::none; }
};

const RegisterPosition registered("none", "nothing; only a causal mask tells tokens apart by their place",
                                  [] { return std::make_unique<NoneSettings>(); });

}  // namespace

}  // namespace headscope
