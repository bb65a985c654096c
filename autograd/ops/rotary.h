// Rotary positions (Su et al. 2021), in the half-split form of GPT-NeoX.
#pragma once

#include <cstdint>

#include "autograd/tensor.h"

namespace headscope {

/// Turns the queries or keys of every head by angles that grow with the position: x [B, T, H*d], head h owns columns
/// [h*d, (h+1)*d), and the result has x's shape. At position t (0, 1, ..., T-1) the columns (i, i + d/2) of a head,
/// i < d/2, are turned as a plane by the angle t * base^(-2i/d):
///   y[i]       = x[i] cos - x[i + d/2] sin
///   y[i + d/2] = x[i] sin + x[i + d/2] cos
/// Throws Error when x is not [B, T, H*d], or d is odd, or base is not positive and finite.
Tensor rotary(const Tensor& x, std::int64_t num_heads, double base = 10000);

}  // namespace headscope
