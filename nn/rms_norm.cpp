#include "nn/rms_norm.h"

#include "autograd/ops/rms_norm.h"

namespace headscope::nn {

RMSNorm::RMSNorm(std::int64_t width, double eps) : eps_(eps) {
    if (width < 1) throw Error("RMSNorm: the width must be at least 1, not " + std::to_string(width));
    weight = register_parameter("weight", {width});
    weight.fill_(1);
}

Tensor RMSNorm::forward(const Tensor& x) const { return rms_norm(x, weight, eps_); }

}  // namespace headscope::nn
