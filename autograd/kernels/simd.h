// The widest vector registers that the build allows, behind a few operations. For kernel sources only.
#pragma once

#include <cmath>
#include <utility>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

namespace headscope::kernels {

#if defined(__AVX512F__)
inline constexpr int vector_bytes = 64;
#else
inline constexpr int vector_bytes = 32;
#endif

template <class T>
struct Simd {
    static constexpr int lanes = vector_bytes / static_cast<int>(sizeof(T));
    using Vector __attribute__((vector_size(vector_bytes))) = T;

    /// From and to memory of any alignment.
    static Vector load(const T* from) { return *reinterpret_cast<const Unaligned*>(from); }
    static void store(T* to, Vector v) { *reinterpret_cast<Unaligned*>(to) = v; }
    static Vector broadcast(T value) { return value - Vector{}; }  // x - 0 keeps every bit of x, -0 too

    /// Lanes l of a where bit `step` of l is 0, else lanes l - step of b.
    template <int step>
    static Vector merge(Vector a, Vector b) {
        return shuffle(a, b, [](int l) { return (l & step) == 0 ? l : lanes + l - step; });
    }
    /// Lanes l + step of a where bit `step` of l is 0, else lanes l of b.
    template <int step>
    static Vector merge_upper(Vector a, Vector b) {
        return shuffle(a, b, [](int l) { return (l & step) == 0 ? l + step : lanes + l; });
    }

    /// a * b + c, rounded once, on every machine.
    static Vector fma(Vector a, Vector b, Vector c) {
#if defined(__AVX512F__)
        if constexpr (sizeof(T) == 4) return Vector(_mm512_fmadd_ps(__m512(a), __m512(b), __m512(c)));
        else return Vector(_mm512_fmadd_pd(__m512d(a), __m512d(b), __m512d(c)));
#elif defined(__FMA__)
        if constexpr (sizeof(T) == 4) return Vector(_mm256_fmadd_ps(__m256(a), __m256(b), __m256(c)));
        else return Vector(_mm256_fmadd_pd(__m256d(a), __m256d(b), __m256d(c)));
#else
        for (int i = 0; i < lanes; ++i) c[i] = std::fma(a[i], b[i], c[i]);
        return c;
#endif
    }

private:
    using Unaligned __attribute__((vector_size(vector_bytes), aligned(sizeof(T)), may_alias)) = T;

    /// Lane l of the result is lane From{}(l) of a and b, b's numbered after a's.
    template <class From>
    static Vector shuffle(Vector a, Vector b, From) {
        return [&]<int... l>(std::integer_sequence<int, l...>) { return __builtin_shufflevector(a, b, From{}(l)...); }
        (std::make_integer_sequence<int, lanes>{});
    }
};

}  // namespace headscope::kernels
