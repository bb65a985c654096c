// The loss of a regression.
#pragma once

#include "autograd/tensor.h"

namespace headscope {

/// Mean over all elements of (prediction - target)^2; a scalar. Both get a gradient.
/// Throws Error unless the shapes (no broadcasting) and dtypes are equal and there is an element.
Tensor mse(const Tensor& prediction, const Tensor& target);

}  // namespace headscope
