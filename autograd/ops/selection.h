// Elementwise choice by a boolean tensor.
#pragma once

#include "autograd/tensor.h"

namespace headscope {

/// a where `condition` (boolean) is true, else b. All three broadcast; a and b have one dtype, f32 or f64. What is not
/// chosen gets gradient 0, whatever its value. Throws Error when shapes or dtypes do not fit.
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);
/// `value` where `mask` (boolean, broadcasts to x) is true, else x; the result has x's shape, f32 or f64.
/// Throws Error when the mask does not fit.
Tensor masked_fill(const Tensor& x, const Tensor& mask, double value);

}  // namespace headscope
