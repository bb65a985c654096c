// Root-mean-square normalisation (Zhang and Sennrich 2019) over the last axis.
#pragma once

#include "autograd/tensor.h"

namespace headscope {

/// x / sqrt(mean(x^2) + eps) * weight; x [..., d], weight [d].
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps = 1e-5);
/// The same from mul, mean and friends: the twin that the fused kernel is tested against.
Tensor rms_norm_unfused(const Tensor& x, const Tensor& weight, double eps = 1e-5);

}  // namespace headscope
