#include "autograd/ops/linear.h"

#include <algorithm>

#include "autograd/graph.h"
#include "autograd/kernels/gemm.h"
#include "autograd/parallel.h"

namespace headscope {
namespace {

void check(const Tensor& x, const Tensor& weight, const Tensor& bias) {
    const bool fits = weight.rank() == 2 && x.rank() >= 1 && x.size(-1) == weight.size(1);
    if (!fits)
        throw Error("linear: the last axis of x and of the weight [out, in] must be equal; x is " + x.shape().str() +
                    ", weight is " + weight.shape().str());
    if (bias.defined() && !(bias.shape() == Shape{weight.size(0)}))
        throw Error("linear: the bias must be [" + std::to_string(weight.size(0)) + "], as many as the weight " +
                    weight.shape().str() + " has rows; it is " + bias.shape().str());
    if (x.dtype() != weight.dtype() || (bias.defined() && bias.dtype() != x.dtype()))
        throw Error("linear: x, weight and bias must share a dtype; x is " + std::string(name_of(x.dtype())) +
                    ", weight is " + std::string(name_of(weight.dtype())));
}

/// How many vectors of the last axis there are; that axis may be empty.
std::int64_t rows_of(const Shape& shape) {
    std::int64_t rows = 1;
    for (int axis = 0; axis + 1 < shape.rank(); ++axis) rows *= shape[axis];
    return rows;
}

/// Every row of y [rows, out] becomes the bias.
template <class T>
void fill_rows(T* y, const T* bias, std::int64_t rows, std::int64_t out) {
    const std::int64_t grain = std::max<std::int64_t>(1, (1 << 16) / std::max<std::int64_t>(1, out));
    parallel_for(rows, grain, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) std::copy_n(bias, out, y + i * out);
    });
}

}  // namespace

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
    check(x, weight, bias);
    const std::int64_t out = weight.size(0);
    const std::int64_t in = weight.size(1);
    Shape shape = x.shape();
    shape[x.rank() - 1] = out;
    Tensor y = Tensor::empty(shape, x.dtype());
    const std::int64_t rows = rows_of(shape);
    dispatch_float(x.dtype(), "linear", [&](auto zero) {
        using T = decltype(zero);
        if (bias.defined()) fill_rows(y.data<T>(), bias.data<T>(), rows, out);
        // x [rows, in] * W^T [in, out] (+ bias)
        kernels::gemm<T>(rows, out, in, {x.data<T>(), in, 1}, {weight.data<T>(), 1, in}, y.data<T>(), out,
                         bias.defined());
    });
    return record("linear", {x, weight, bias}, y, {x, weight}, [](Backward& bw) {
        const Tensor& g = bw.grad();  // [..., out]
        const Tensor& x = bw.saved(0);
        const Tensor& weight = bw.saved(1);
        const std::int64_t out = weight.size(0);
        const std::int64_t in = weight.size(1);
        const std::int64_t rows = rows_of(g.shape());
        dispatch_float(g.dtype(), "linear", [&](auto zero) {
            using T = decltype(zero);
            if (bw.needs(0)) {  // dx [rows, in] = g [rows, out] * W [out, in]
                Tensor dx = Tensor::empty(x.shape(), x.dtype());
                kernels::gemm<T>(rows, in, out, {g.data<T>(), out, 1}, {weight.data<T>(), in, 1}, dx.data<T>(), in,
                                 false);
                bw.set(0, dx);
            }
            if (bw.needs(1)) {  // dW [out, in] = g^T [out, rows] * x [rows, in]
                Tensor dw = Tensor::empty(weight.shape(), weight.dtype());
                kernels::gemm<T>(out, in, rows, {g.data<T>(), 1, out}, {x.data<T>(), in, 1}, dw.data<T>(), in, false);
                bw.set(1, dw);
            }
        });
        if (bw.needs(2)) bw.set(2, g);  // the engine sums over the rows
    });
}

}  // namespace headscope
