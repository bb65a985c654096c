#pragma once

#include "autograd/random.h"
#include "autograd/tensor.h"

namespace headscope::nn {

/// A random f64 matrix [rows, columns] with orthonormal columns, or rows when it is wide, uniform over all of them: the
/// Q of a Gaussian matrix, columns turned so that R's diagonal is positive (Mezzadri 2007).
Tensor random_orthogonal(std::int64_t rows, std::int64_t columns, const RandomStream& random);

}  // namespace headscope::nn
