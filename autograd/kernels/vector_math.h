// Elementary functions and row reductions for kernels.
//
// Notes
//   Elements. fast_exp has no branch and calls nothing, so a loop over it is vectorised, and each element goes through
//   the same operations wherever in the loop it lies: equal inputs give equal bits. It takes a number or a whole
//   vector; the lanes of a vector have the bits of the number.
//
//   Rows. A sum over a row is kept in a fixed number of lanes: element i goes to lane i mod `row_lanes`, and the lanes
//   are added by a fixed tree. So the bits follow from the values and their count, not from alignment or instruction
//   set, and zeros after the row change nothing.
//
//   Fits. Coefficients are our own weighted minimax fits (Lawson's iteration on Chebyshev nodes); the relative error of
//   each fit, before rounding, stands beside it.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>

#include "autograd/kernels/partial_vector.h"
#include "autograd/kernels/simd.h"

namespace headscope::kernels {

template <class T>
concept Floating = std::same_as<T, float> || std::same_as<T, double>;

namespace detail {

/// What V, a number or a vector of numbers, is made of.
template <class V>
struct Lanes;
template <Floating T>
struct Lanes<T> {
    using Scalar = T;
    using Bits = BitsOf<T>;
    static T fma(T a, T b, T c) { return std::fma(a, b, c); }
};
template <Floating T>
struct VectorLanes {
    using Scalar = T;
    using Bits = typename BitVector<T>::type;
    static auto fma(auto a, auto b, auto c) { return Simd<T>::fma(a, b, c); }
};
template <>
struct Lanes<Simd<float>::Vector> : VectorLanes<float> {};
template <>
struct Lanes<Simd<double>::Vector> : VectorLanes<double> {};

template <class V>
using ScalarOf = typename Lanes<V>::Scalar;

/// The coefficients of x^0, x^1, ... times these powers, by multiply-adds from the highest power down.
template <class V>
inline V polynomial(V, ScalarOf<V> last) {
    return V{} + last;
}
template <class V, class... Rest>
inline V polynomial(V x, ScalarOf<V> first, Rest... next) {
    return Lanes<V>::fma(polynomial(x, next...), x, V{} + first);
}

/// e^x = 2^n e^r, n the integer nearest to x / ln2, |r| <= ln2 / 2.
template <class V>
struct PowerOfTwo {
    typename Lanes<V>::Bits n;  ///< in two's complement
    V growth;                   ///< e^r - 1
};

/// `rest` is a part of x too small to be added to it.
template <class V>
inline PowerOfTwo<V> split_exp(V x, V rest) {
    using L = Lanes<V>;
    using Bits = typename L::Bits;
    constexpr bool narrow = sizeof(ScalarOf<V>) == 4;
    const auto constant = [](double single, double twice) {
        return V{} + static_cast<ScalarOf<V>>(narrow ? single : twice);
    };
    // 1.5 * 2^23, or 1.5 * 2^52: adding it leaves the nearest integer in the low bits.
    const V rounder = constant(12582912.0, 6755399441055744.0);
    const V shifted = L::fma(x, constant(1.44269504F, 1.4426950408889634), rounder);
    const V n = shifted - rounder;
    // ln2 in two parts, the first short enough for n times it to be exact.
    V r = L::fma(n, constant(-0.693359375F, -0.693147180369123816490), x);
    r = L::fma(n, constant(2.12194440e-4F, -1.90821492927058770002e-10), r) + rest;
    V q;  // (e^r - 1 - r) / r^2
    if constexpr (narrow) {
        q = polynomial(r, 0.49999994F, 1.66665196e-1F, 4.16683927e-2F, 8.36878084e-3F,
                       1.38144672e-3F);  // 3.1e-9 of e^r
    } else {                             // Taylor to r^13, 4e-18
        q = polynomial(r, 0.5, 1.0 / 6.0, 1.0 / 24.0, 1.0 / 120.0, 1.0 / 720.0, 1.0 / 5040.0, 1.0 / 40320.0,
                       1.0 / 362880.0, 1.0 / 3628800.0, 1.0 / 39916800.0, 1.0 / 479001600.0, 1.0 / 6227020800.0);
    }
    return {std::bit_cast<Bits>(shifted) - std::bit_cast<Bits>(rounder), L::fma(r * r, q, r)};
}

}  // namespace detail

/// A vector of floats, as wide as the machine allows.
using Floats = Simd<float>::Vector;

/// e^x to about 1 unit in the last place, subnormal results included. -inf gives 0, large x gives inf, NaN gives NaN.
/// V = float, double, or a vector of them.
template <class V>
inline V fast_exp(V x) {
    using Bits = typename detail::Lanes<V>::Bits;
    constexpr bool narrow = sizeof(detail::ScalarOf<V>) == 4;
    constexpr auto mantissa = narrow ? 23U : 52U;
    // Beyond these the result is 0 or inf anyway. A NaN fails both comparisons and stays.
    const V most = V{} + (narrow ? 89 : 710);
    const V least = V{} - (narrow ? 105 : 746);
    x = x > most ? most : x;
    x = x < least ? least : x;
    const auto [n, growth] = detail::split_exp(x, -V{});  // adding -0 changes nothing
#if defined(__AVX512F__)
    // One instruction for both factors below, with the same single rounding. (Masked, because GCC 12 warns of itself.)
    if constexpr (std::same_as<V, Simd<float>::Vector>)
        return V(_mm512_maskz_scalef_ps(0xFFFF, __m512(growth + 1), _mm512_maskz_cvtepi32_ps(0xFFFF, __m512i(n))));
#endif
    // 2^n in two factors, because n may be below the smallest normal exponent or one above the largest. The sum makes n
    // positive, so that a logical shift halves it.
    const Bits biased = n + (narrow ? 256U : 2048U);
    const Bits half = biased >> 1U;
    return (growth + 1) * std::bit_cast<V>((half - 1U) << mantissa) *
           std::bit_cast<V>((biased - half - 1U) << mantissa);
}

/// Number of lanes of a row reduction: 256 bytes, so that several sums are under way at once.
template <Floating T>
inline constexpr std::int64_t row_lanes = 256 / static_cast<std::int64_t>(sizeof(T));

namespace detail {

/// Lane l of the result is lane l + half of v.
template <int half, class T, class Vector>
Vector upper(Vector v) {
    return [&]<int... l>(std::integer_sequence<int, l...>) {
        return __builtin_shufflevector(v, v, ((l + half) % Simd<T>::lanes)...);
    }
    (std::make_integer_sequence<int, Simd<T>::lanes>{});
}

/// The tree inside one vector: l with l + half, for half = lanes/2, ..., 1.
template <class T, int half = Simd<T>::lanes / 2, class Vector, class Combine>
T combine_lanes(Vector v, Combine combine) {
    v = combine(v, upper<half, T>(v));
    if constexpr (half > 1) return combine_lanes<T, half / 2>(v, combine);
    else return v[0];
}

/// The frame of every row reduction, K of them in one pass. `step(totals, i, count)` combines K vectors of lanes with
/// the elements from i on, of which `count` exist; `combine` joins two vectors: lane l with lane l + half, for
/// half = row_lanes/2, ..., 1.
template <Floating T, std::size_t K, class Step, class Combine>
std::array<T, K> reduce_row(std::int64_t n, T start, Step step, Combine combine) {
    using Vector = typename Simd<T>::Vector;
    constexpr int lanes = Simd<T>::lanes;
    constexpr int vectors = static_cast<int>(row_lanes<T>) / lanes;
    Vector total[vectors][K];
    for (auto& one : total)
        for (Vector& lane : one) lane = Simd<T>::broadcast(start);
    std::int64_t i = 0;
    for (; i + row_lanes<T> <= n; i += row_lanes<T>)
        for (int v = 0; v < vectors; ++v) step(total[v], i + v * lanes, lanes);
    for (int v = 0; v < vectors && i < n; ++v, i += lanes) step(total[v], i, n - i);
    std::array<T, K> result;
    for (std::size_t k = 0; k < K; ++k) {
        for (int half = vectors / 2; half > 0; half /= 2)
            for (int v = 0; v < half; ++v) total[v][k] = combine(total[v][k], total[v + half][k]);
        result[k] = combine_lanes<T>(total[0][k], combine);
    }
    return result;
}

/// b > a ? b : a, lane by lane, as one instruction. (The unmasked intrinsics of AVX-512 make GCC 12 warn of itself.)
template <class T, class Vector>
Vector larger(Vector a, Vector b) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) return Vector(_mm512_maskz_max_ps(0xFFFF, __m512(b), __m512(a)));
    else return Vector(_mm512_maskz_max_pd(0xFF, __m512d(b), __m512d(a)));
#elif defined(__AVX2__)
    if constexpr (sizeof(T) == 4) return Vector(_mm256_max_ps(__m256(b), __m256(a)));
    else return Vector(_mm256_max_pd(__m256d(b), __m256d(a)));
#else
    return b > a ? b : a;
#endif
}

}  // namespace detail

/// Largest of n values; -inf when there is none. NaNs are passed over.
template <Floating T>
T row_max(const T* x, std::int64_t n) {
    const T none = -std::numeric_limits<T>::infinity();
    return detail::reduce_row<T, 1>(
        n, none,
        [=](auto& most, std::int64_t i, std::int64_t count) {
            most[0] = detail::larger<T>(most[0], load_first(x + i, count, none));
        },
        [](auto a, auto b) { return detail::larger<T>(a, b); })[0];
}

/// K sums over a row in one pass. `terms(i, count)` gives an array of K vectors: the terms i, ..., i + count - 1 (as
/// many as a vector has lanes, when count is more), and 0 in the lanes after them. Called once for every vector of the
/// row, so it may write along.
template <Floating T, std::size_t K, class Terms>
std::array<T, K> row_sums(std::int64_t n, Terms terms) {
    return detail::reduce_row<T, K>(
        n, T{0},
        [&](auto& total, std::int64_t i, std::int64_t count) {
            const auto term = terms(i, count);
            for (std::size_t k = 0; k < K; ++k) total[k] += term[k];
        },
        [](auto a, auto b) { return a + b; });
}

/// One such sum; `term(i, count)` gives a vector.
template <Floating T, class Term>
T row_sum_of(std::int64_t n, Term term) {
    return row_sums<T, 1>(n, [&](std::int64_t i, std::int64_t count) { return std::array{term(i, count)}; })[0];
}

/// Sum of n values.
template <Floating T>
T row_sum(const T* x, std::int64_t n) {
    return row_sum_of<T>(n, [x](std::int64_t i, std::int64_t count) { return load_first(x + i, count, T{0}); });
}

/// Sum of n products.
template <Floating T>
T row_dot(const T* a, const T* b, std::int64_t n) {
    return row_sum_of<T>(n, [=](std::int64_t i, std::int64_t count) {
        return load_first(a + i, count, T{0}) * load_first(b + i, count, T{0});
    });
}

/// x[i] = e^(scale x[i] - shift), in place; returns the sum, with the bits of row_sum. The exponent is rounded once.
template <Floating T>
T exp_row(T* x, std::int64_t n, T scale, T shift) {
    using V = Simd<T>;
    const auto factor = V::broadcast(scale);
    const auto term = V::broadcast(-shift);
    return row_sum_of<T>(n, [=](std::int64_t i, std::int64_t count) {
        // What does not exist is -inf, whose exponential adds nothing.
        const auto value = load_first(x + i, count, -std::numeric_limits<T>::infinity());
        const auto power = fast_exp(V::fma(value, factor, term));
        store_first(x + i, count, power);
        return power;
    });
}

/// x[i] *= factor.
template <Floating T>
void scale_row(T* x, std::int64_t n, T factor) {
    each_vector<T>(n, [=](std::int64_t i, std::int64_t count) {
        store_first(x + i, count, load_first(x + i, count, T{0}) * factor);
    });
}

namespace detail {

/// Softmax takes scale * largest off scale * x. That product is rounded, so all exponents of a row are off by the same
/// amount, at most half a unit in its last place. Below the limit (2^12 in f32, 2^26 in f64) the common factor cancels
/// in the quotient, and a row with one weight gets exactly 1. From the limit on the row is shifted before it is scaled,
/// which makes the exponent at the largest entry exactly 0.
template <Floating T>
bool shifts_before_scaling(T scaled_largest) {
    constexpr T limit = static_cast<T>(std::int64_t{1} << (std::numeric_limits<T>::digits / 2));
    return std::fabs(scaled_largest) >= limit;
}

/// softmax_row of so many whole vectors, which stay in registers.
template <Floating T, int vectors>
T softmax_vectors(T* x, T scale) {
    using S = Simd<T>;
    using Vector = typename S::Vector;
    constexpr int columns = static_cast<int>(row_lanes<T>) / S::lanes;  // the vectors of a row reduction
    const auto add = [](auto a, auto b) { return a + b; };
    const auto most = [](auto a, auto b) { return larger<T>(a, b); };
    Vector v[vectors];
#pragma GCC unroll 8
    for (int i = 0; i < vectors; ++i) v[i] = S::load(x + i * S::lanes);
    Vector top = v[0];
#pragma GCC unroll 8
    for (int i = 1; i < vectors; ++i) top = most(top, v[i]);
    const T largest = combine_lanes<T>(top, most);
    T shift = largest == -std::numeric_limits<T>::infinity() ? T{0} : scale * largest;
    if (shifts_before_scaling(shift)) [[unlikely]] {
#pragma GCC unroll 8
        for (int i = 0; i < vectors; ++i) v[i] -= S::broadcast(largest);
        shift = 0;
    }
    const Vector factor = S::broadcast(scale);
    const Vector term = S::broadcast(-shift);
    Vector total[columns] = {};
#pragma GCC unroll 8
    for (int i = 0; i < vectors; ++i) {
        v[i] = fast_exp(S::fma(v[i], factor, term));
        total[i % columns] += v[i];
    }
#pragma GCC unroll 4
    for (int half = columns / 2; half > 0; half /= 2)
#pragma GCC unroll 4
        for (int c = 0; c < half; ++c) total[c] += total[c + half];
    const T sum = combine_lanes<T>(total[0], add);
    const Vector inverse = S::broadcast(sum == 0 ? T{0} : 1 / sum);
#pragma GCC unroll 8
    for (int i = 0; i < vectors; ++i) S::store(x + i * S::lanes, v[i] * inverse);
    return sum;
}

}  // namespace detail

/// x[i] = e^(scale x[i]) / sum over j of e^(scale x[j]), in place, scale > 0. Entries of -inf become 0, and so does a
/// row of nothing else; a NaN or inf makes the row NaN. Returns the sum of the exponentials, about 1 or more; 0 for a
/// row of -inf. Any n and any alignment; fastest when n is a multiple of 16, so pad a buffer with -inf where it is
/// cheap: the bits stay the same.
template <Floating T>
T softmax_row(T* x, std::int64_t n, T scale) {
    constexpr std::int64_t lanes = Simd<T>::lanes;
    switch (n % lanes == 0 ? n / lanes : 0) {  // the rows of most attentions
        case 1: return detail::softmax_vectors<T, 1>(x, scale);
        case 2: return detail::softmax_vectors<T, 2>(x, scale);
        case 3: return detail::softmax_vectors<T, 3>(x, scale);
        case 4: return detail::softmax_vectors<T, 4>(x, scale);
        case 5: return detail::softmax_vectors<T, 5>(x, scale);
        case 6: return detail::softmax_vectors<T, 6>(x, scale);
        case 7: return detail::softmax_vectors<T, 7>(x, scale);
        case 8: return detail::softmax_vectors<T, 8>(x, scale);
        default: break;
    }
    const T largest = row_max(x, n);
    T shift = largest == -std::numeric_limits<T>::infinity() ? T{0} : scale * largest;
    if (detail::shifts_before_scaling(shift)) [[unlikely]] {
        for (std::int64_t i = 0; i < n; ++i) x[i] -= largest;
        shift = 0;
    }
    const T total = exp_row(x, n, scale, shift);
    scale_row(x, n, total == 0 ? T{0} : 1 / total);
    return total;
}

}  // namespace headscope::kernels
