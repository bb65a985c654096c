// Elementwise activation functions, any shape, f32 or f64.
#pragma once

#include "autograd/tensor.h"

namespace headscope {

/// x * Phi(x) with the exact normal distribution function, (1 + erf(x / sqrt 2)) / 2 (Hendrycks and Gimpel 2016).
Tensor gelu(const Tensor& x);
/// max(x, 0); the gradient at 0 is 0, as in PyTorch.
Tensor relu(const Tensor& x);
/// x / (1 + exp(-x)).
Tensor silu(const Tensor& x);

}  // namespace headscope
