// Layer normalisation (Ba, Kiros and Hinton 2016) over the last axis.
#pragma once

#include "autograd/tensor.h"

namespace headscope {

/// (x - mean) / sqrt(var + eps) * weight + bias, var the biased variance; x [..., d], weight and bias [d].
Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps = 1e-5);
/// The same from mean, sub, mul and friends: the twin that the fused kernel is tested against.
Tensor layer_norm_unfused(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps = 1e-5);

}  // namespace headscope
