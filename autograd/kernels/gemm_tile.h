// The micro-kernels of gemm: a tile of C in registers. For gemm.cpp only.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "autograd/kernels/simd.h"

namespace headscope::kernels {

#if defined(__AVX512F__)
inline constexpr int max_tile_rows = 14;  // 28 of 32 registers hold C, 2 a row of B
#else
inline constexpr int max_tile_rows = 6;  // 12 of 16
#endif
inline constexpr int max_tile_vectors = 2;

/// What one chain over k is added to: bias (or null), then a matrix (or null).
template <class T>
struct ChainStart {
    const T* bias;
    const T* add;
    std::int64_t add_row;

    ChainStart at(std::int64_t i, std::int64_t j) const {
        return {bias == nullptr ? nullptr : bias + j, add == nullptr ? nullptr : add + i * add_row + j, add_row};
    }
};

/// A[rows, k] with any strides, B[k, columns] with rows `b_row` apart; C[rows, cols] = chain + start. B has whole
/// vectors in memory also where cols ends within one.
template <class T>
struct TileArguments {
    std::int64_t k;
    const T* a;
    std::int64_t a_row, a_column;
    const T* b;
    std::int64_t b_row;
    ChainStart<T> start;
    T* c;
    std::int64_t ldc;
    std::int64_t cols;
};

template <class T, int rows, int vectors>
void multiply_tile(const TileArguments<T>& tile) {
    using S = Simd<T>;
    using Vector = typename S::Vector;
    Vector sum[rows][vectors] = {};
    // One pointer for three rows of A: an address is base, base + stride or base + 2 stride.
    constexpr int pointers = (rows + 2) / 3;
    const T* a[pointers];
    for (int g = 0; g < pointers; ++g) a[g] = tile.a + 3 * g * tile.a_row;
    const T* b = tile.b;
    const std::int64_t a_row = tile.a_row, a_column = tile.a_column, b_row = tile.b_row;
    for (std::int64_t p = 0; p < tile.k; ++p, b += b_row) {
        Vector row_of_b[vectors];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) row_of_b[v] = S::load(b + v * S::lanes);
#pragma GCC unroll 16
        for (int i = 0; i < rows; ++i) {
            const Vector element = S::broadcast(a[i / 3][i % 3 * a_row]);
#pragma GCC unroll 2
            for (int v = 0; v < vectors; ++v) sum[i][v] = S::fma(element, row_of_b[v], sum[i][v]);
        }
#pragma GCC unroll 16
        for (int g = 0; g < pointers; ++g) {
            a[g] += a_column;
            asm("" : "+r"(a[g]));  // keeps the pointers few: the compiler would make one for each row, and spill them
        }
    }
    const ChainStart<T>& start = tile.start;
    if (tile.cols == vectors * S::lanes) {
#pragma GCC unroll 16
        for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 2
            for (int v = 0; v < vectors; ++v) {
                const std::int64_t j = v * S::lanes;
                Vector value = sum[i][v];
                if (start.bias != nullptr) value += S::load(start.bias + j);
                if (start.add != nullptr) value += S::load(start.add + i * start.add_row + j);
                S::store(tile.c + i * tile.ldc + j, value);
            }
        }
        return;
    }
    T edge[rows * vectors * S::lanes];
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) S::store(edge + (i * vectors + v) * S::lanes, sum[i][v]);
    for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < tile.cols; ++j) {
            T value = edge[i * vectors * S::lanes + j];
            if (start.bias != nullptr) value += start.bias[j];
            if (start.add != nullptr) value += start.add[i * start.add_row + j];
            tile.c[i * tile.ldc + j] = value;
        }
}

/// multiply_tile of `rows` (1 ... max_tile_rows) and `vectors` (1 ... max_tile_vectors).
template <class T>
auto tile_kernel(std::int64_t rows, int vectors) {
    using Kernel = void (*)(const TileArguments<T>&);
    static constexpr auto table = []<int... i>(std::integer_sequence<int, i...>) {
        return std::array<Kernel, sizeof...(i)>{
            &multiply_tile<T, i / max_tile_vectors + 1, i % max_tile_vectors + 1>...};
    }
    (std::make_integer_sequence<int, max_tile_rows * max_tile_vectors>{});
    return table[static_cast<std::size_t>((rows - 1) * max_tile_vectors + vectors - 1)];
}

}  // namespace headscope::kernels
