#pragma once

#include "autograd/tensor.h"

namespace headscope::nn {

/// Attention weights by a sigmoid instead of a softmax: sigma(s - ln n), n the number of keys that the query may see
/// (Ramapuram et al. 2024, "Theory, analysis, and best practices for sigmoid self-attention"). They lie in (0, 1) and
/// do not sum to 1. A WeightsFunction (multi_head_attention.h): scores [B, H, Tq, Tk] and visible -> weights.
Tensor sigmoid_weights(const Tensor& scores, const Tensor& visible);

}  // namespace headscope::nn
