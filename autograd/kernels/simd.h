// The widest vector registers that the build allows, behind three operations. For kernel sources only.
#pragma once

#include <cmath>
#include <cstring>

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

    static Vector load(const T* from) {
        Vector v;
        std::memcpy(&v, from, sizeof v);
        return v;
    }
    static void store(T* to, Vector v) { std::memcpy(to, &v, sizeof v); }
    static Vector broadcast(T value) { return value - Vector{}; }  // x - 0 keeps every bit of x, -0 too

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
};

}  // namespace headscope::kernels
