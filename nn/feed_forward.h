#pragma once

#include <string_view>

#include "autograd/ops/activation.h"
#include "nn/linear.h"

namespace headscope::nn {

using headscope::Activation;

/// linear1 -> activation -> linear2, position by position. Children linear1 [d_ff, d_model], linear2 [d_model, d_ff].
class FeedForward : public Module {
public:
    FeedForward(std::int64_t d_model, std::int64_t d_ff, Activation activation = Activation::gelu, bool bias = true);
    /// x [..., d_model] -> the same shape; plus `residual`, of that shape, where defined.
    Tensor forward(const Tensor& x, const Tensor& residual = {}) const;

    Linear linear1, linear2;

private:
    Activation activation_;
};

}  // namespace headscope::nn
