// The matrix products of y = x W^T + b and of its gradients, for the ops that are made of such maps. For sources only.
#pragma once

#include <string>

#include "autograd/kernels/gemm.h"
#include "autograd/tensor.h"

namespace headscope {

/// Throws Error, beginning with `op`, unless x [..., in], weight [out, in] and bias [out] (or undefined) fit.
void check_linear(const char* op, const Tensor& x, const Tensor& weight, const Tensor& bias);

/// How many vectors of the last axis there are; that axis may be empty.
inline std::int64_t rows_of(const Shape& shape) {
    std::int64_t rows = 1;
    for (int axis = 0; axis + 1 < shape.rank(); ++axis) rows *= shape[axis];
    return rows;
}

/// x's shape with another last axis.
inline Shape with_last(Shape shape, std::int64_t last) {
    shape[shape.rank() - 1] = last;
    return shape;
}

/// y [rows, out] = x [rows, in] W^T [in, out] + bias + residual
template <class T>
kernels::MatrixProduct<T> map_product(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& residual,
                                      Tensor& y) {
    const std::int64_t out = weight.size(0), in = weight.size(1);
    return {.m = rows_of(y.shape()),
            .n = out,
            .terms = {{{{x.data<T>(), in, 1}, {weight.data<T>(), 1, in}, in}}},
            .c = y.data<T>(),
            .ldc = out,
            .bias = bias.defined() ? bias.data<T>() : nullptr,
            .add = residual.defined() ? residual.data<T>() : nullptr,
            .add_row = out};
}

/// Part of dx [rows, in]: g [rows, out] W [out, in]
template <class T>
typename kernels::MatrixProduct<T>::Term input_term(const Tensor& g, const Tensor& weight) {
    const std::int64_t out = weight.size(0), in = weight.size(1);
    return {{g.data<T>(), out, 1}, {weight.data<T>(), in, 1}, out};
}

/// dx [rows, in] from one map.
template <class T>
kernels::MatrixProduct<T> input_product(const Tensor& g, const Tensor& weight, Tensor& dx) {
    const std::int64_t in = weight.size(1);
    return {.m = rows_of(g.shape()), .n = in, .terms = {{input_term<T>(g, weight)}}, .c = dx.data<T>(), .ldc = in};
}

/// dW [out, in] = g^T [out, rows] x [rows, in]
template <class T>
kernels::MatrixProduct<T> weight_product(const Tensor& g, const Tensor& x, Tensor& dw) {
    const std::int64_t out = dw.size(0), in = dw.size(1);
    return {.m = out,
            .n = in,
            .terms = {{{{g.data<T>(), 1, out}, {x.data<T>(), in, 1}, rows_of(g.shape())}}},
            .c = dw.data<T>(),
            .ldc = in};
}

/// db [out] = sum of g's rows
template <class T>
kernels::ColumnSums<T> bias_sums(const Tensor& g, Tensor& db) {
    const std::int64_t out = db.size(0);
    return {.x = g.data<T>(), .rows = rows_of(g.shape()), .cols = out, .row = out, .sums = db.data<T>()};
}

}  // namespace headscope
