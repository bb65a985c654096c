#include "nn/rms_norm.h"

#include "autograd/ops/rms_norm.h"
#include "nn/init.h"

namespace headscope::nn {

RMSNorm::RMSNorm(std::int64_t width, double eps) : eps_(eps) {
    if (width < 1) throw Error("RMSNorm: the width must be at least 1, not " + std::to_string(width));
    weight = register_parameter("weight", {width}, ParameterRole::scale);
    initialize_new(*this);
}

Tensor RMSNorm::forward(const Tensor& x) const { return rms_norm(x, weight, eps_); }

void RMSNorm::initialize_own(const Initializer&) { weight.fill_(1); }

}  // namespace headscope::nn
