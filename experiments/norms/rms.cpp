#include "experiments/norms/norm.h"
#include "nn/rms_norm.h"

namespace headscope::experiments {

namespace {

class RMSNormSettings : public NormSettings {
public:
    std::unique_ptr<nn::Norm> build(std::int64_t width) const override { return std::make_unique<nn::RMSNorm>(width); }
};

const RegisterType<NormSettings> registered_rms(
    "rms", "divided by the root mean square, with a weight (Zhang and Sennrich 2019)",
    [] { return std::make_unique<RMSNormSettings>(); });

}  // namespace

}  // namespace headscope::experiments
