// The loops behind elementwise ops. A function is given values of one scalar type and must be a plain expression of
// them, so that equal inputs give equal bits wherever they lie.
#pragma once

#include <cstdint>
#include <string>

#include "autograd/kernels/strided_walk.h"
#include "autograd/parallel.h"
#include "autograd/tensor.h"

namespace headscope::kernels {

/// Elements of one chunk of the loops below; less work than this is not worth waking a thread.
inline constexpr std::int64_t map_grain = 1 << 13;
inline constexpr std::int64_t combine_grain = 1 << 14;

/// y[i] = function(x[i]).
template <class Function>
Tensor map(const char* op, const Tensor& x, Function function) {
    Tensor y = Tensor::empty(x.shape(), x.dtype());
    dispatch_float(x.dtype(), op, [&](auto zero) {
        using T = decltype(zero);
        const T* from = x.data<T>();
        T* to = y.data<T>();
        parallel_for(x.numel(), map_grain, [=](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i) to[i] = function(from[i]);
        });
    });
    return y;
}

/// dx[i] = function(dy[i], saved[i]).
template <class Function>
Tensor map_back(const char* op, const Tensor& dy, const Tensor& saved, Function function) {
    Tensor dx = Tensor::empty(dy.shape(), dy.dtype());
    dispatch_float(dy.dtype(), op, [&](auto zero) {
        using T = decltype(zero);
        const T* gradient = dy.data<T>();
        const T* from = saved.data<T>();
        T* to = dx.data<T>();
        parallel_for(dy.numel(), map_grain, [=](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i) to[i] = function(gradient[i], from[i]);
        });
    });
    return dx;
}

/// c[i] = op(a[i], constant); the constant is rounded to a's dtype once.
template <class Op>
Tensor transform(const char* name, const Tensor& a, double constant, Op op) {
    Tensor c = Tensor::empty(a.shape(), a.dtype());
    dispatch_float(a.dtype(), name, [&](auto scalar) {
        using T = decltype(scalar);
        const T* const pa = a.data<T>();
        T* const pc = c.data<T>();
        const T value = static_cast<T>(constant);
        parallel_for(a.numel(), combine_grain, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i) pc[i] = op(pa[i], value);
        });
    });
    return c;
}

/// Throws Error naming `name` unless a and b have one dtype.
inline void check_same_dtype(const char* name, const Tensor& a, const Tensor& b) {
    if (a.dtype() != b.dtype())
        throw Error(std::string(name) + ": the dtypes differ; a is " + std::string(name_of(a.dtype())) + " " +
                    a.shape().str() + ", b is " + std::string(name_of(b.dtype())) + " " + b.shape().str() +
                    "; convert one with to()");
}

/// One run of the walk of combine(). A broadcast operand stands still (step 0) or goes along (step 1), and never do
/// both stand still in a run of more than one element.
template <class T, class Op>
void combine_run(const T* a, std::int64_t step_a, const T* b, std::int64_t step_b, T* c, std::int64_t count, Op op) {
    if (step_a == 0) {
        const T left = *a;
        for (std::int64_t i = 0; i < count; ++i) c[i] = op(left, b[i]);
    } else if (step_b == 0) {
        const T right = *b;
        for (std::int64_t i = 0; i < count; ++i) c[i] = op(a[i], right);
    } else {
        for (std::int64_t i = 0; i < count; ++i) c[i] = op(a[i], b[i]);
    }
}

/// c = op(a, b), element by element, under broadcasting. Throws Error naming `name` when dtypes or shapes do not fit.
template <class Op>
Tensor combine(const char* name, const Tensor& a, const Tensor& b, Op op) {
    check_same_dtype(name, a, b);
    const Shape shape = broadcast_shapes(a.shape(), b.shape(), name);
    Tensor c = Tensor::empty(shape, a.dtype());
    const StridedWalk<2> walk(shape, {broadcast_strides(a.shape(), shape), broadcast_strides(b.shape(), shape)});
    dispatch_float(a.dtype(), name, [&](auto scalar) {
        using T = decltype(scalar);
        const T* const pa = a.data<T>();
        const T* const pb = b.data<T>();
        T* const pc = c.data<T>();
        parallel_for(shape.numel(), combine_grain, [&](std::int64_t begin, std::int64_t end) {
            walk.run(begin, end, [&](std::int64_t position, std::int64_t count, const auto& offsets) {
                combine_run(pa + offsets[0], walk.step(0), pb + offsets[1], walk.step(1), pc + position, count, op);
            });
        });
    });
    return c;
}

}  // namespace headscope::kernels
