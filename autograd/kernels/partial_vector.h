// Vectors of which only the first lanes lie in memory: the end of a row. For kernel sources only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "autograd/kernels/simd.h"

namespace headscope::kernels {

/// An unsigned integer as wide as T, and a vector of them.
template <class T>
using BitsOf = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
template <class T>
struct BitVector {
    using type __attribute__((vector_size(vector_bytes))) = BitsOf<T>;
};

namespace detail {

/// All bits set in the first `count` lanes.
template <class T>
typename BitVector<T>::type first_lanes(std::int64_t count) {
    typename BitVector<T>::type lane;
    for (int l = 0; l < Simd<T>::lanes; ++l) lane[l] = static_cast<BitsOf<T>>(l);
    return lane < static_cast<BitsOf<T>>(count);
}

}  // namespace detail

/// from[0], ..., from[count - 1], and `fill` in the lanes after them; count > 0, more than the lanes means all.
template <class T>
typename Simd<T>::Vector load_first(const T* from, std::int64_t count, T fill) {
    using Vector [[maybe_unused]] = typename Simd<T>::Vector;
    if (count >= Simd<T>::lanes) return Simd<T>::load(from);
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4)
        return Vector(_mm512_mask_loadu_ps(_mm512_set1_ps(fill), __mmask16((1U << count) - 1), from));
    else return Vector(_mm512_mask_loadu_pd(_mm512_set1_pd(fill), __mmask8((1U << count) - 1), from));
#elif defined(__AVX2__)
    const auto in = detail::first_lanes<T>(count);
    if constexpr (sizeof(T) == 4) return in ? Vector(_mm256_maskload_ps(from, __m256i(in))) : Simd<T>::broadcast(fill);
    else return in ? Vector(_mm256_maskload_pd(from, __m256i(in))) : Simd<T>::broadcast(fill);
#else
    T memory[Simd<T>::lanes];
    std::fill_n(std::copy_n(from, count, memory), Simd<T>::lanes - count, fill);
    return Simd<T>::load(memory);
#endif
}

/// Writes the first `count` lanes and nothing after them; count as above.
template <class T>
void store_first(T* to, std::int64_t count, typename Simd<T>::Vector values) {
    if (count >= Simd<T>::lanes) return Simd<T>::store(to, values);
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) _mm512_mask_storeu_ps(to, __mmask16((1U << count) - 1), __m512(values));
    else _mm512_mask_storeu_pd(to, __mmask8((1U << count) - 1), __m512d(values));
#elif defined(__AVX2__)
    const auto in = detail::first_lanes<T>(count);
    if constexpr (sizeof(T) == 4) _mm256_maskstore_ps(to, __m256i(in), __m256(values));
    else _mm256_maskstore_pd(to, __m256i(in), __m256d(values));
#else
    T memory[Simd<T>::lanes];
    Simd<T>::store(memory, values);
    std::copy_n(memory, count, to);
#endif
}

/// Calls `body(i, count)` for i = 0, lanes, ... below n. `count` is the number of lanes, known to the compiler, for
/// whole vectors, and what is left for the last.
template <class T, class Body>
void each_vector(std::int64_t n, Body body) {
    constexpr std::int64_t lanes = Simd<T>::lanes;
    std::int64_t i = 0;
    for (; i + lanes <= n; i += lanes) body(i, lanes);
    if (i < n) body(i, n - i);
}

}  // namespace headscope::kernels
