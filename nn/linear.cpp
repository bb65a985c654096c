#include "nn/linear.h"

#include "autograd/ops/linear.h"
#include "nn/init.h"

namespace headscope::nn {

Linear::Linear(std::int64_t in_features, std::int64_t out_features, bool with_bias) {
    if (in_features < 1 || out_features < 1)
        throw Error("Linear: sizes must be at least 1; in is " + std::to_string(in_features) + ", out is " +
                    std::to_string(out_features));
    weight = register_parameter("weight", {out_features, in_features});
    if (with_bias) bias = register_parameter("bias", {out_features});
    initialize_new(*this);
}

Tensor Linear::forward(const Tensor& x) const { return linear(x, weight, bias); }

}  // namespace headscope::nn
