// Elementwise mathematical functions, any shape, f32 or f64.
#pragma once

#include "autograd/tensor.h"

namespace headscope {

/// e^x.
Tensor exp(const Tensor& x);
/// The natural logarithm; -inf at 0, NaN below.
Tensor log(const Tensor& x);
/// The square root; NaN below 0, and the gradient at 0 is infinite.
Tensor sqrt(const Tensor& x);
/// The hyperbolic tangent.
Tensor tanh(const Tensor& x);
/// 1 / (1 + e^-x).
Tensor sigmoid(const Tensor& x);
/// x^exponent, as std::pow: NaN for a negative x and an exponent that is no whole number. An exponent of 0 gives 1 and
/// gradient 0 everywhere.
Tensor pow(const Tensor& x, double exponent);
/// base^exponent; the two broadcast, dtypes must be equal. Where the exponent is 0 the base gets gradient 0; where the
/// base is 0 and the exponent not negative, the exponent does (both as in PyTorch).
Tensor pow(const Tensor& base, const Tensor& exponent);

}  // namespace headscope
