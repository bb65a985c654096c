// Softmax along an axis, counted from the end when negative.
#pragma once

#include "autograd/tensor.h"

namespace headscope {

/// exp(x - max) / sum exp(x - max) along `axis`.
Tensor softmax(const Tensor& x, int axis = -1);
/// log(softmax(x)) along `axis`, without the loss of digits that the logarithm of a small weight would cost.
Tensor log_softmax(const Tensor& x, int axis = -1);
/// Softmax along the last axis over the elements where `visible` (boolean, broadcasts to x) is true; others get weight
/// 0. A row with nothing visible is all zeros, with zero gradient. A row whose visible elements are all -inf is NaN, as
/// in softmax().
Tensor masked_softmax(const Tensor& x, const Tensor& visible);

}  // namespace headscope
