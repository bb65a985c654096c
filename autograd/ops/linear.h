// The affine map of a fully connected layer.
#pragma once

#include "autograd/tensor.h"

namespace headscope {

/// x [..., in] times weight [out, in] transposed, plus bias [out] where defined: [..., out].
/// Throws Error when the sizes do not fit.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

}  // namespace headscope
