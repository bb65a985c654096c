// The affine map of a fully connected layer, alone and three of them on one input.
#pragma once

#include <array>

#include "autograd/tensor.h"

namespace headscope {

/// x [..., in] times weight [out, in] transposed, plus bias [out] and residual [..., out] where defined: [..., out].
/// Throws Error when the sizes do not fit.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, const Tensor& residual = {});

/// linear(x, weights[i], biases[i]) for i = 0, 1, 2 in one pass over x, and over its gradient. Biases are all defined
/// or none. Throws Error when the sizes do not fit.
std::array<Tensor, 3> linear_three(const Tensor& x, const std::array<Tensor, 3>& weights,
                                   const std::array<Tensor, 3>& biases);

}  // namespace headscope
