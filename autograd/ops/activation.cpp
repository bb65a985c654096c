#include "autograd/ops/activation.h"

#include <cmath>
#include <cstdint>
#include <numbers>

#include "autograd/graph.h"
#include "autograd/kernels/vector_math.h"
#include "autograd/parallel.h"

namespace headscope {
namespace {

constexpr std::int64_t grain = 1 << 13;  // elements of one chunk

/// y[i] = function(x[i]).
template <class Function>
Tensor map(const char* op, const Tensor& x, Function function) {
    Tensor y = Tensor::empty(x.shape(), x.dtype());
    dispatch_float(x.dtype(), op, [&](auto zero) {
        using T = decltype(zero);
        const T* from = x.data<T>();
        T* to = y.data<T>();
        parallel_for(x.numel(), grain, [=](std::int64_t begin, std::int64_t end) {
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
        parallel_for(dy.numel(), grain, [=](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i) to[i] = function(gradient[i], from[i]);
        });
    });
    return dx;
}

/// Phi(x), the standard normal distribution function.
template <class T>
T normal_cdf(T x) {
    return T{0.5} + T{0.5} * kernels::fast_erf(x * (std::numbers::sqrt2_v<T> / 2));
}

/// Its derivative, exp(-x^2 / 2) / sqrt(2 pi).
template <class T>
T normal_density(T x) {
    constexpr T height = std::numbers::inv_sqrtpi_v<T> / std::numbers::sqrt2_v<T>;
    return height * kernels::fast_exp(T{-0.5} * x * x);
}

template <class T>
T sigmoid(T x) {
    return T{1} / (T{1} + kernels::fast_exp(-x));
}

}  // namespace

Tensor gelu(const Tensor& x) {
    Tensor y = map("gelu", x, [](auto v) { return v * normal_cdf(v); });
    return record("gelu", {x}, y, {x}, [](Backward& bw) {
        // y = x Phi(x)  =>  dy/dx = Phi(x) + x phi(x)
        bw.set(0, map_back("gelu", bw.grad(), bw.saved(0),
                           [](auto dy, auto v) { return dy * (normal_cdf(v) + v * normal_density(v)); }));
    });
}

Tensor relu(const Tensor& x) {
    // Compared so that a NaN passes, forward and backward.
    Tensor y = map("relu", x, [](auto v) { return v < 0 ? decltype(v){0} : v; });
    return record("relu", {x}, y, {y}, [](Backward& bw) {
        bw.set(0,
               map_back("relu", bw.grad(), bw.saved(0), [](auto dy, auto v) { return v <= 0 ? decltype(v){0} : dy; }));
    });
}

Tensor silu(const Tensor& x) {
    Tensor y = map("silu", x, [](auto v) { return v * sigmoid(v); });
    return record("silu", {x}, y, {x}, [](Backward& bw) {
        // y = x s(x), s' = s (1 - s)  =>  dy/dx = s (1 + x (1 - s))
        bw.set(0, map_back("silu", bw.grad(), bw.saved(0), [](auto dy, auto v) {
                   const auto s = sigmoid(v);
                   return dy * (s * (1 + v * (1 - s)));
               }));
    });
}

Tensor sqrt(const Tensor& x) {
    Tensor y = map("sqrt", x, [](auto v) { return std::sqrt(v); });
    return record("sqrt", {x}, y, {y}, [](Backward& bw) {
        // y = sqrt(x)  =>  dy/dx = 1 / (2 y)
        bw.set(0, map_back("sqrt", bw.grad(), bw.saved(0), [](auto dy, auto root) { return dy / (2 * root); }));
    });
}

}  // namespace headscope
