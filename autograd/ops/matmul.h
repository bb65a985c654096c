// Matrix products.
#pragma once

#include "autograd/tensor.h"

namespace headscope {

/// a [..., M, K] times b [..., K, N] = [..., M, N]; leading axes broadcast. `transpose_a`: a is [..., K, M];
/// `transpose_b`: b is [..., N, K]. Both need rank 2 at least. Throws Error when the sizes do not fit.
Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_a = false, bool transpose_b = false);

}  // namespace headscope
