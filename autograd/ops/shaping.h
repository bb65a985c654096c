// Ops that move values about and change none.
#pragma once

#include <vector>

#include "autograd/tensor.h"

namespace headscope {

/// The same values under another shape; shares storage. One size may be -1: it follows from the others.
/// Throws Error when the number of elements differs.
Tensor reshape(const Tensor& x, std::vector<std::int64_t> sizes);
/// Axis i of the result is axis order[i] of x; a copy. Throws Error unless `order` is a permutation of the axes.
Tensor permute(const Tensor& x, std::vector<int> order);
/// x stretched to `shape` by the broadcasting rule; a copy.
Tensor broadcast_to(const Tensor& x, const Shape& shape);

}  // namespace headscope
