// Inverted dropout.
#pragma once

#include "autograd/random.h"
#include "autograd/tensor.h"

namespace headscope {

/// Element i is kept with probability 1 - p (random.uniform(i) >= p) and then divided by 1 - p; else 0.
/// p = 0 returns x itself. Throws Error unless 0 <= p < 1.
Tensor dropout(const Tensor& x, double p, const RandomStream& random);

}  // namespace headscope
