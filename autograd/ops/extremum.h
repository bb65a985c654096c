// Largest values over axes, sharp and soft. `axes` as in reduction.h: negative ones count from the end, an empty list
// means all.
#pragma once

#include <vector>

#include "autograd/tensor.h"

namespace headscope {

/// The largest value over `axes`; a NaN wins. Equal largest values share the gradient evenly (torch.amax does so).
/// With keep_dims the reduced axes stay as 1. Throws Error when there is nothing to choose from.
Tensor max(const Tensor& x, std::vector<int> axes = {}, bool keep_dims = false);
/// log(sum over `axes` of e^x), without overflow; -inf, and no gradient, where all are -inf or there is none.
Tensor logsumexp(const Tensor& x, std::vector<int> axes = {}, bool keep_dims = false);

}  // namespace headscope
