// Softmax over the last axis.
#pragma once

#include "autograd/tensor.h"

namespace headscope {

/// exp(x - max) / sum exp(x - max) along the last axis.
Tensor softmax(const Tensor& x);
/// Softmax over the elements where `visible` (boolean, broadcasts to x) is true; others get weight 0. A row with
/// nothing visible is all zeros, with zero gradient.
Tensor masked_softmax(const Tensor& x, const Tensor& visible);

}  // namespace headscope
