// The feed-forward half of a transformer block as one op.
#pragma once

#include "autograd/ops/activation.h"
#include "autograd/tensor.h"

namespace headscope {

/// Two affine maps with an activation between them.
struct FeedForwardWeights {
    Tensor weight1, bias1;  ///< [hidden, in], [hidden] or undefined
    Tensor weight2, bias2;  ///< [out, hidden], [out] or undefined
};

/// linear(activate(linear(x, weight1, bias1)), weight2, bias2) + residual (where defined): x [..., in] -> [..., out].
/// The activation is applied while a block of the first product is in cache. For the backward pass a small hidden layer
/// is kept with its slope, a large one before its activation alone. Same bits as feed_forward_unfused. Throws Error
/// when the sizes do not fit.
Tensor feed_forward(const Tensor& x, const FeedForwardWeights& weights, Activation activation,
                    const Tensor& residual = {});
/// The same from plain ops.
Tensor feed_forward_unfused(const Tensor& x, const FeedForwardWeights& weights, Activation activation,
                            const Tensor& residual = {});

}  // namespace headscope
