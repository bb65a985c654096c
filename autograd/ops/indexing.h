// Ops that take tensors apart and put them together. All copy; values of any dtype, gradients for f32 and f64.
// A negative axis counts from the end.
#pragma once

#include <cstdint>
#include <vector>

#include "autograd/tensor.h"

namespace headscope {

/// Elements begin, begin + step, ... below `end` along `axis`, as x[begin:end:step] in Python. Negative `begin` and
/// `end` count from the end. Throws Error unless 0 <= begin <= end <= size after that, and step >= 1.
Tensor slice(const Tensor& x, int axis, std::int64_t begin, std::int64_t end, std::int64_t step = 1);
/// The tensors one behind the other along `axis`. Throws Error when there is none, or when dtypes or sizes of another
/// axis differ.
Tensor concat(const std::vector<Tensor>& tensors, int axis);
/// The tensors side by side along a new axis, which `axis` numbers in the result. Throws Error when there is none, or
/// when shapes or dtypes differ.
Tensor stack(const std::vector<Tensor>& tensors, int axis);
/// result[i][j][k] = x[i][index[i][j][k]][k] for axis 1, and so on. `index` is i64 of x's rank; its size along `axis`
/// is free, along others at most x's; the result has its shape. An element taken several times gets the sum of the
/// gradients, in row-major order, whatever the number of threads. Throws Error when shapes do not fit, or an index is
/// outside [0, size), naming the place.
Tensor gather(const Tensor& x, int axis, const Tensor& index);

}  // namespace headscope
