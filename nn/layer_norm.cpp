#include "nn/layer_norm.h"

#include "autograd/ops/layer_norm.h"
#include "nn/init.h"

namespace headscope::nn {

LayerNorm::LayerNorm(std::int64_t width, double eps) : eps_(eps) {
    if (width < 1) throw Error("LayerNorm: the width must be at least 1, not " + std::to_string(width));
    weight = register_parameter("weight", {width}, ParameterRole::scale);
    bias = register_parameter("bias", {width}, ParameterRole::bias);
    initialize_new(*this);
}

Tensor LayerNorm::forward(const Tensor& x) const { return layer_norm(x, weight, bias, eps_); }

void LayerNorm::initialize_own(const Initializer&) {
    weight.fill_(1);
    bias.fill_(0);
}

}  // namespace headscope::nn
