// Elementwise activation functions, any shape, f32 or f64.
#pragma once

#include "autograd/kernels/activation_kind.h"
#include "autograd/tensor.h"

namespace headscope {

/// The function of that name below.
Tensor activate(const Tensor& x, Activation which);

/// x * Phi(x) with the exact normal distribution function, (1 + erf(x / sqrt 2)) / 2 (Hendrycks and Gimpel 2016).
/// -inf gives 0, its limit.
Tensor gelu(const Tensor& x);
/// max(x, 0); the gradient at 0 is 0, as in PyTorch.
Tensor relu(const Tensor& x);
/// x / (1 + exp(-x)). -inf gives 0, its limit.
Tensor silu(const Tensor& x);

}  // namespace headscope
