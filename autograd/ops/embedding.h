// Table look-up.
#pragma once

#include "autograd/tensor.h"

namespace headscope {

/// weight [V, d]; tokens i64 [...]; result [..., d], row `token` of the weight.
/// Throws Error when a token is outside [0, V), naming the token and its place.
/// The gradient adds the rows of equal tokens in the order of their places, whatever the number of threads.
Tensor embedding(const Tensor& weight, const Tensor& tokens);

}  // namespace headscope
