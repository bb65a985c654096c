// Activation functions with their slopes, row by row. They call nothing of the engine, so kernels may use them inside
// a parallel region.
//
// Notes
//   gelu in f32. With a = |x|, E = e^(-a^2/2) and Q(a) = 1 - Phi(a) = E R(a), one exponential gives all:
//     x < 0:   gelu(x) = -a Q       gelu'(x) = Q - a phi(a)
//     x >= 0:  gelu(x) = x - a Q    gelu'(x) = 1 - (Q - a phi(a))          phi(a) = E / sqrt(2 pi)
//   so that the left tail is no difference of nearly equal numbers. R(a) = e^(a^2/2) erfc(a / sqrt 2) / 2 falls
//   smoothly from 1/2 like 1 / (sqrt(2 pi) a): a quotient of polynomials with positive coefficients, in whose sums no
//   digits are lost, 1.4e-8 on [0, 13.2]. Beyond, a Q is below the smallest normal float and is taken as 0. Below 0.68
//   it is Q = 1/2 - a S(a^2), 2.3e-9, which rounds less often. The exponent is a^2/2 with what rounding took from a^2;
//   without it E would be off by 2^-24 a^2/2.
//
//   Fits. Our own weighted minimax (Lawson's iteration on Chebyshev nodes, the quotient linearised with the denominator
//   of the step before), coefficients rounded to float one after the other and the rest fitted again. The errors are
//   relative to Q, of the rounded coefficients.
//
//   Infinities. The functions and their slopes take their limits there; NaN gives NaN.
//
//   Vectors. Floats go through vectors of the machine's width written out, because compilers turn some of the choices
//   into branches and then leave the loop scalar. The rest of a row is filled up to a vector: same operations, same
//   bits.
#pragma once

#include <bit>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <numbers>

#include "autograd/kernels/activation_kind.h"
#include "autograd/kernels/vector_math.h"

namespace headscope::kernels {

/// V = double, or a vector of floats.
template <class V>
struct ValueAndSlope {
    V value;
    V slope;
};

inline ValueAndSlope<Floats> gelu_at(Floats x) {
    using V = Simd<float>;
    const Floats zero{};
    const Floats one = V::broadcast(1.0F);
    const Floats far = V::broadcast(13.2F);
    const Floats size = x < zero ? -x : x;
    const Floats a = size > far ? far : size;

    // E = 2^n (1 + growth); n is -126 at least, so that it fits the exponent bits
    const Floats square = a * a;
    const Floats lost = V::fma(a, a, -square);
    const auto [n, growth] = detail::split_exp(-0.5F * square, -0.5F * lost);
    const auto scaled = [power = n << 23U](Floats v) {
        return std::bit_cast<Floats>(std::bit_cast<BitVector<float>::type>(v) + power);
    };
    const Floats density = 0.398942280F * scaled(one + growth);  // phi(a)

    // E R with one rounding in E p
    const Floats p = detail::polynomial(a, 0.5F, 4.347783e-1F, 1.8061271e-1F, 3.974411e-2F, 3.982732e-3F);
    const Floats q = detail::polynomial(a, 1.0F, 1.6674414F, 1.1916479F, 4.6254268e-1F, 9.963131e-2F, 9.98308e-3F);
    const Floats outer = scaled(V::fma(p, growth, p)) / q;
    const Floats s =
        detail::polynomial(square, 0.3989423F, -0.06649062F, 0.009974814F, -0.0011883399F, 0.000109715525F);
    const Floats inner = V::fma(-a, s, V::broadcast(0.5F));

    const Floats tail = a < V::broadcast(0.68F) ? inner : outer;  // Q
    const Floats below = size > far ? zero : a * tail;
    const Floats bend = size > far ? zero : V::fma(-a, density, tail);
    return {x < zero ? -below : x - below, x < zero ? bend : one - bend};
}

inline ValueAndSlope<double> gelu_at(double x) {
    constexpr double far = 40;  // Phi(-40) is 0, and so is the density
    constexpr double height = std::numbers::inv_sqrtpi / std::numbers::sqrt2;
    const double low = x < -far ? -far : x;
    const double near = low > far ? far : low;
    const double cdf = 0.5 * std::erfc(x * (-std::numbers::sqrt2 / 2));
    return {low * cdf, cdf + near * height * std::exp(-0.5 * near * near)};
}

/// Compared so that a NaN passes; the slope at 0 is 0.
template <class V>
inline ValueAndSlope<V> relu_at(V x) {
    const V zero{};
    return {x <= zero ? zero : x, x <= zero ? zero : zero + 1};
}

template <class V>
inline ValueAndSlope<V> silu_at(V x) {
    // s = 1 / (1 + e^-x), from e^-|x|, so that nothing overflows and 1 - s loses no digits.
    const V zero{};
    const V far = zero + (std::same_as<V, double> ? 760 : 110);  // e^-far is 0
    const V low = x < -far ? -far : x;
    const V near = low > far ? far : low;
    const V e = fast_exp(near < zero ? near : -near);
    const V larger = 1 / (1 + e);
    const V smaller = e * larger;
    const V s = x < zero ? smaller : larger;
    const V rest = x < zero ? larger : smaller;  // 1 - s
    // y = x s, s' = s (1 - s)  =>  dy/dx = s (1 + x (1 - s))
    return {low * s, s * (1 + near * rest)};
}

namespace detail {

/// Calls `take(i, count, at(x[i]))` all along the row; floats go by vectors, of which the first `count` lanes are
/// meant.
template <class Function, class Take>
void each_activation(const float* x, std::int64_t n, Function at, Take take) {
    each_vector<float>(n,
                       [&](std::int64_t i, std::int64_t count) { take(i, count, at(load_first(x + i, count, 0.0F))); });
}

template <class Function, class Take>
void each_activation(const double* x, std::int64_t n, Function at, Take take) {
    for (std::int64_t i = 0; i < n; ++i) take(i, 1, at(x[i]));
}

inline void put(float* to, std::int64_t count, Floats values) { store_first(to, count, values); }
inline void put(double* to, std::int64_t, double value) { *to = value; }

template <class T, class Take>
void each_activation(Activation which, const T* x, std::int64_t n, Take take) {
    switch (which) {
        case Activation::gelu:
            return each_activation(
                x, n, [](auto v) { return gelu_at(v); }, take);
        case Activation::relu:
            return each_activation(
                x, n, [](auto v) { return relu_at(v); }, take);
        case Activation::silu:
            return each_activation(
                x, n, [](auto v) { return silu_at(v); }, take);
    }
}

}  // namespace detail

/// y[i] = f(x[i]) for n elements. y may be x; otherwise the two must not overlap.
template <Floating T>
void activate(Activation which, const T* x, T* y, std::int64_t n) {
    detail::each_activation(which, x, n, [y](std::int64_t i, std::int64_t count, const auto& result) {
        detail::put(y + i, count, result.value);
    });
}

/// The same values, and slope[i] = f'(x[i]). One of y and slope may be x; otherwise none may overlap.
template <Floating T>
void activate_with_slope(Activation which, const T* x, T* y, T* slope, std::int64_t n) {
    detail::each_activation(which, x, n, [=](std::int64_t i, std::int64_t count, const auto& result) {
        detail::put(y + i, count, result.value);
        detail::put(slope + i, count, result.slope);
    });
}

}  // namespace headscope::kernels
