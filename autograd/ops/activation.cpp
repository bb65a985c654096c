#include "autograd/ops/activation.h"

#include <numbers>

#include "autograd/graph.h"
#include "autograd/kernels/elementwise.h"
#include "autograd/kernels/vector_math.h"

namespace headscope {
namespace {

using kernels::map;
using kernels::map_back;

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

}  // namespace headscope
