// Elementary functions and row reductions for kernels.
//
// Notes
//   Elements. fast_exp and fast_erf have no branch and call nothing, so a loop over them is vectorised, and each
//   element goes through the same operations wherever in the loop it lies: equal inputs give equal bits. Rows. A sum
//   over a row is kept in a fixed number of lanes: element i goes to lane i mod `lanes`, and the lanes are added by a
//   fixed tree. So the bits follow from the values and their count, not from alignment or instruction set. Coefficients
//   are our own weighted minimax fits (Lawson's iteration on Chebyshev nodes); the relative error of each fit, before
//   rounding, stands beside it.
#pragma once

#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

namespace headscope::kernels {

/// e^x to about 1 unit in the last place, subnormal results included. -inf gives 0, large x gives inf, NaN gives NaN.
inline float fast_exp(float x) {
    constexpr float log2e = 1.44269504F;
    constexpr float ln2_high = 0.693359375F;  // 9 bits, so that n * ln2_high is exact
    constexpr float ln2_low = -2.12194440e-4F;
    constexpr float rounder = 12582912.0F;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
    // Beyond these the result is 0 or inf anyway. A NaN fails both comparisons and stays.
    x = x > 89.0F ? 89.0F : x;
    x = x < -105.0F ? -105.0F : x;
    // e^x = 2^n e^r with |r| <= ln2 / 2
    const float shifted = std::fma(x, log2e, rounder);
    const float n = shifted - rounder;
    float r = std::fma(n, -ln2_high, x);
    r = std::fma(n, -ln2_low, r);
    float q = 1.38144672e-3F;  // (e^r - 1 - r) / r^2, 3.1e-9 of e^r
    q = std::fma(q, r, 8.36878084e-3F);
    q = std::fma(q, r, 4.16683927e-2F);
    q = std::fma(q, r, 1.66665196e-1F);
    q = std::fma(q, r, 0.49999994F);
    const float e = std::fma(r * r, q, r) + 1.0F;
    // 2^n in two factors, because n may be below the smallest normal exponent or one above the largest. The sum makes n
    // positive, so that a logical shift halves it.
    const std::uint32_t biased = std::bit_cast<std::uint32_t>(shifted) - std::bit_cast<std::uint32_t>(rounder) + 256U;
    const std::uint32_t half = biased >> 1U;
    const float first = std::bit_cast<float>((half - 1U) << 23U);
    const float second = std::bit_cast<float>((biased - half - 1U) << 23U);
    return e * first * second;
}

inline double fast_exp(double x) {
    constexpr double log2e = 1.4426950408889634;
    constexpr double ln2_high = 0.693147180369123816490;  // 32 bits
    constexpr double ln2_low = 1.90821492927058770002e-10;
    constexpr double rounder = 6755399441055744.0;  // 1.5 * 2^52
    x = x > 710.0 ? 710.0 : x;
    x = x < -746.0 ? -746.0 : x;
    const double shifted = std::fma(x, log2e, rounder);
    const double n = shifted - rounder;
    double r = std::fma(n, -ln2_high, x);
    r = std::fma(n, -ln2_low, r);
    double q = 1.0 / 6227020800.0;  // Taylor to r^13, 4e-18
    q = std::fma(q, r, 1.0 / 479001600.0);
    q = std::fma(q, r, 1.0 / 39916800.0);
    q = std::fma(q, r, 1.0 / 3628800.0);
    q = std::fma(q, r, 1.0 / 362880.0);
    q = std::fma(q, r, 1.0 / 40320.0);
    q = std::fma(q, r, 1.0 / 5040.0);
    q = std::fma(q, r, 1.0 / 720.0);
    q = std::fma(q, r, 1.0 / 120.0);
    q = std::fma(q, r, 1.0 / 24.0);
    q = std::fma(q, r, 1.0 / 6.0);
    q = std::fma(q, r, 0.5);
    const double e = std::fma(r * r, q, r) + 1.0;
    const std::uint64_t biased = std::bit_cast<std::uint64_t>(shifted) - std::bit_cast<std::uint64_t>(rounder) + 2048U;
    const std::uint64_t half = biased >> 1U;
    const double first = std::bit_cast<double>((half - 1U) << 52U);
    const double second = std::bit_cast<double>((biased - half - 1U) << 52U);
    return e * first * second;
}

/// The error function to about 1 unit in the last place; NaN gives NaN.
inline float fast_erf(float x) {
    // |x| < 1: x + x times a polynomial in x^2, 1.3e-9.
    const float u = x * x;
    float p = 7.85386146e-5F;
    p = std::fma(p, u, -8.01019371e-4F);
    p = std::fma(p, u, 5.18832775e-3F);
    p = std::fma(p, u, -2.68538129e-2F);
    p = std::fma(p, u, 1.12835854e-1F);
    p = std::fma(p, u, -3.7612626e-1F);
    p = std::fma(p, u, 0.128379166F);
    const float near = std::fma(x, p, x);
    // |x| >= 1: 1 - exp(polynomial), 1.1e-9; from 4 on it is 1 in float.
    float a = std::fabs(x);
    a = a > 4.0F ? 4.0F : a;
    float q = 1.86379213e-4F;
    q = std::fma(q, a, -2.94765853e-3F);
    q = std::fma(q, a, 2.18380652e-2F);
    q = std::fma(q, a, -1.03106759e-1F);
    q = std::fma(q, a, -6.38144851e-1F);
    q = std::fma(q, a, -1.12708914F);
    q = std::fma(q, a, -3.41522828e-4F);
    const float far = std::copysign(1.0F - fast_exp(q), x);
    return a < 1.0F ? near : far;
}

inline double fast_erf(double x) { return std::erf(x); }

template <class T>
concept Floating = std::same_as<T, float> || std::same_as<T, double>;

/// Number of lanes of a row reduction: 64 bytes.
template <Floating T>
inline constexpr std::int64_t row_lanes = 64 / static_cast<std::int64_t>(sizeof(T));

namespace detail {

// Half a group of lanes. Two halves of 32 bytes, because GCC keeps a 64-byte vector in memory where AVX-512 is missing.
template <class T>
struct HalfOf;
template <>
struct HalfOf<float> {
    using type = float __attribute__((vector_size(32)));
};
template <>
struct HalfOf<double> {
    using type = double __attribute__((vector_size(32)));
};

/// The frame of every row reduction. `step(total, i)` combines a lane (or a vector of lanes) with element i (or as many
/// elements from i on); `combine` joins two lanes: l with l + half, for half = lanes/2, ..., 1.
template <class T, class Step, class Combine>
T reduce_row(std::int64_t n, T start, Step step, Combine combine) {
    using Half = typename HalfOf<T>::type;
    constexpr std::int64_t lanes = row_lanes<T>;
    Half low = Half{} + start;
    Half high = low;
    std::int64_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        step(low, i);
        step(high, i + lanes / 2);
    }
    T total[lanes];
    std::memcpy(total, &low, sizeof low);
    std::memcpy(total + lanes / 2, &high, sizeof high);
    for (std::int64_t l = 0; i + l < n; ++l) step(total[l], i + l);
    for (std::int64_t half = lanes / 2; half > 0; half /= 2) {
        for (std::int64_t l = 0; l < half; ++l) total[l] = combine(total[l], total[l + half]);
    }
    return total[0];
}

/// A V (a scalar, or a vector of lanes) from memory of any alignment.
template <class V, class T>
V load(const T* from) {
    V value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

}  // namespace detail

/// Largest of n values; -inf when there is none. NaNs are passed over.
template <Floating T>
T row_max(const T* x, std::int64_t n) {
    const auto step = [x]<class V>(V& most, std::int64_t i) {
        const V value = detail::load<V>(x + i);
        most = value > most ? value : most;
    };
    return detail::reduce_row(n, -std::numeric_limits<T>::infinity(), step, [](T a, T b) { return b > a ? b : a; });
}

/// Sum of n values.
template <Floating T>
T row_sum(const T* x, std::int64_t n) {
    const auto step = [x]<class V>(V& total, std::int64_t i) { total += detail::load<V>(x + i); };
    return detail::reduce_row(n, T{0}, step, [](T a, T b) { return a + b; });
}

/// Sum of n products.
template <Floating T>
T row_dot(const T* a, const T* b, std::int64_t n) {
    const auto step = [a, b]<class V>(V& total, std::int64_t i) {
        total += detail::load<V>(a + i) * detail::load<V>(b + i);
    };
    return detail::reduce_row(n, T{0}, step, [](T x, T y) { return x + y; });
}

}  // namespace headscope::kernels
