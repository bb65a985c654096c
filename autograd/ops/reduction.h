// Reductions over axes. `axes` may be negative (from the end); an empty list means all axes.
#pragma once

#include <vector>

#include "autograd/tensor.h"

namespace headscope {

/// Sum over `axes`. With keep_dims the reduced axes stay as 1.
Tensor sum(const Tensor& x, std::vector<int> axes = {}, bool keep_dims = false);
/// Mean over `axes`. Throws Error when there is nothing to average.
Tensor mean(const Tensor& x, std::vector<int> axes = {}, bool keep_dims = false);
/// Sums x over the axes along which `shape` was broadcast to x's shape; the result has that shape.
Tensor sum_to(const Tensor& x, const Shape& shape);

}  // namespace headscope
