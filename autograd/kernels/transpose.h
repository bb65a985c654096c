// Transposed copies, in registers: for kernel sources only.
#pragma once

#include <algorithm>
#include <cstdint>

#include "autograd/kernels/simd.h"

namespace headscope::kernels {

namespace detail {

/// Turns the square block of rows r[0 .. lanes) on its diagonal. Each round swaps the off-diagonal quarters of all
/// squares of side 2 * step.
template <class T, int step>
void transpose_round(typename Simd<T>::Vector* r) {
    using S = Simd<T>;
    for (int i = 0; i < S::lanes; ++i) {
        if ((i & step) != 0) continue;
        const auto top = r[i];
        const auto bottom = r[i + step];
        r[i] = S::template merge<step>(top, bottom);
        r[i + step] = S::template merge_upper<step>(top, bottom);
    }
    if constexpr (2 * step < S::lanes) transpose_round<T, 2 * step>(r);
}

/// At most `lanes` rows of x become one vector of each of `cols` rows of y, zero beyond `rows`.
template <class T>
void transpose_strip(std::int64_t rows, std::int64_t cols, const T* x, std::int64_t x_row, T* y, std::int64_t y_row) {
    using S = Simd<T>;
    using Vector = typename S::Vector;
    std::int64_t p = 0;
    for (; p + S::lanes <= cols; p += S::lanes) {
        Vector square[S::lanes];
        for (int i = 0; i < S::lanes; ++i) square[i] = i < rows ? S::load(x + i * x_row + p) : Vector{};
        transpose_round<T, 1>(square);
        for (int i = 0; i < S::lanes; ++i) S::store(y + (p + i) * y_row, square[i]);
    }
    for (; p < cols; ++p)
        for (std::int64_t i = 0; i < S::lanes; ++i) y[p * y_row + i] = i < rows ? x[i * x_row + p] : T{};
}

}  // namespace detail

/// y[j, i] = x[i, j] for x [rows, cols] and y [cols, width], the rows of each x_row and y_row apart. `width` is a
/// multiple of the lanes, at least `rows`; what is beyond `rows` becomes 0.
template <class T>
void transpose(std::int64_t rows, std::int64_t cols, const T* x, std::int64_t x_row, T* y, std::int64_t width,
               std::int64_t y_row) {
    for (std::int64_t i = 0; i < width; i += Simd<T>::lanes)
        detail::transpose_strip<T>(std::clamp<std::int64_t>(rows - i, 0, Simd<T>::lanes), cols, x + i * x_row, x_row,
                                   y + i, y_row);
}

}  // namespace headscope::kernels
