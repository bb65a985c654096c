#include "nn/linear.h"

#include "autograd/ops/linear.h"
#include "nn/init.h"

namespace headscope::nn {

Linear::Linear(std::int64_t in_features, std::int64_t out_features, bool with_bias, ParameterRole role) {
    if (in_features < 1 || out_features < 1)
        throw Error("Linear: sizes must be at least 1; in is " + std::to_string(in_features) + ", out is " +
                    std::to_string(out_features));
    weight = register_parameter("weight", {out_features, in_features}, role);
    if (with_bias) bias = register_parameter("bias", {out_features}, ParameterRole::bias);
    initialize_new(*this);
}

Tensor Linear::forward(const Tensor& x) const { return linear(x, weight, bias); }

Sizes Linear::outline(Outline& outline, const Sizes& x) const {
    outline.multiply_add(count_of(x) * static_cast<double>(weight.size(0)));
    Sizes y = x;
    y.back() = weight.size(0);
    return y;
}

void Linear::initialize_own(const Initializer& init) {
    init.draw_matrix(weight, "weight");
    if (bias.defined()) init.draw_bias(bias, "bias", weight.size(1));
}

}  // namespace headscope::nn
