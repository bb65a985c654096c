// Elementwise arithmetic. Two tensors broadcast by NumPy's rule; their dtypes must be equal (f32 or f64).
#pragma once

#include "autograd/tensor.h"

namespace headscope {

Tensor add(const Tensor& a, const Tensor& b);
Tensor sub(const Tensor& a, const Tensor& b);
Tensor mul(const Tensor& a, const Tensor& b);
Tensor div(const Tensor& a, const Tensor& b);
Tensor neg(const Tensor& a);
/// a * factor.
Tensor scale(const Tensor& a, double factor);
/// a + constant.
Tensor shift(const Tensor& a, double constant);

inline Tensor operator+(const Tensor& a, const Tensor& b) { return add(a, b); }
inline Tensor operator-(const Tensor& a, const Tensor& b) { return sub(a, b); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return mul(a, b); }
inline Tensor operator/(const Tensor& a, const Tensor& b) { return div(a, b); }
inline Tensor operator-(const Tensor& a) { return neg(a); }
inline Tensor operator*(const Tensor& a, double factor) { return scale(a, factor); }
inline Tensor operator*(double factor, const Tensor& a) { return scale(a, factor); }
inline Tensor operator+(const Tensor& a, double constant) { return shift(a, constant); }

}  // namespace headscope
