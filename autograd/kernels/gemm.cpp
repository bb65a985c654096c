// The usual three-level blocked product: both operands are packed into panels that the micro-kernel reads in order.
//
//   panel of A: for every k, `tile_rows` values of a column      (zeros below the last row)
//   panel of B: for every k, `tile_cols` values of a row         (zeros beyond the last column)
//   micro-kernel: a tile_rows x tile_cols block of C in registers, one multiply-add per element and k
//
// Zeros in the padding reach only elements that are thrown away, so an edge element goes through the very steps of an
// inner one.
#include "autograd/kernels/gemm.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "autograd/kernels/simd.h"
#include "autograd/parallel.h"

namespace headscope::kernels {
namespace {

#if defined(__AVX512F__)
constexpr int tile_rows = 14;  // 28 of 32 registers hold C, 2 a row of B
#else
constexpr int tile_rows = 6;  // 12 of 16
#endif
template <class T>
constexpr int tile_cols = 2 * Simd<T>::lanes;

// Blocks of C that one task computes: a multiple of the tile, small enough for both packed operands to stay in L2.
constexpr std::int64_t block_rows = 24 * tile_rows;
constexpr std::int64_t block_cols = 512;
constexpr std::int64_t inner = gemm_inner_block;
constexpr std::int64_t slack = 16;  // elements behind packed panels that packing may write

std::int64_t round_up(std::int64_t value, std::int64_t unit) { return (value + unit - 1) / unit * unit; }

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

/// Packs rows that are contiguous along k: `used` rows, j_stride apart, become columns of a panel `width` wide. A store
/// may write past its row of the panel; the next row, or the slack behind the last panel, takes it.
template <class T, int width>
void pack_transposed(const T* source, std::int64_t j_stride, std::int64_t k, std::int64_t used, T* packed) {
    using S = Simd<T>;
    std::int64_t p = 0;
    for (; p + S::lanes <= k; p += S::lanes) {
        typename S::Vector rows[(width + S::lanes - 1) / S::lanes][S::lanes];
        for (int j = 0; j < width; j += S::lanes) {
            auto* square = rows[j / S::lanes];
            for (int i = 0; i < S::lanes; ++i)
                square[i] = j + i < used ? S::load(source + (j + i) * j_stride + p) : typename S::Vector{};
            transpose_round<T, 1>(square);
        }
        for (int i = 0; i < S::lanes; ++i)
            for (int j = 0; j < width; j += S::lanes) S::store(packed + (p + i) * width + j, rows[j / S::lanes][i]);
    }
    for (; p < k; ++p)
        for (std::int64_t j = 0; j < width; ++j) packed[p * width + j] = j < used ? source[p + j * j_stride] : T{};
}

/// Packs the k x (at most `width`) panels of a matrix whose panel axis has `count` entries.
/// Element (k, j) of the source is source[k * k_stride + j * j_stride].
template <class T, int width>
void pack(const T* source, std::int64_t k_stride, std::int64_t j_stride, std::int64_t k, std::int64_t count,
          T* packed) {
    for (std::int64_t first = 0; first < count; first += width, packed += k * width, source += width * j_stride) {
        const std::int64_t used = std::min<std::int64_t>(width, count - first);
        if (k_stride == 1) {
            pack_transposed<T, width>(source, j_stride, k, used, packed);
        } else if (used == width && j_stride == 1) {
            for (std::int64_t p = 0; p < k; ++p)
                std::memcpy(packed + p * width, source + p * k_stride, width * sizeof(T));
        } else {
            for (std::int64_t p = 0; p < k; ++p) {
                T* row = packed + p * width;
                for (std::int64_t j = 0; j < used; ++j) row[j] = source[p * k_stride + j * j_stride];
                for (std::int64_t j = used; j < width; ++j) row[j] = T{};
            }
        }
    }
}

/// C's rows x cols corner of one tile = (add ? C : 0) + the chain over k.
template <class T>
void micro_kernel(std::int64_t k, const T* a, const T* b, T* c, std::int64_t ldc, std::int64_t rows, std::int64_t cols,
                  bool add) {
    using S = Simd<T>;
    typename S::Vector sum[tile_rows][2] = {};
    for (std::int64_t p = 0; p < k; ++p, a += tile_rows, b += tile_cols<T>) {
        const auto b0 = S::load(b);
        const auto b1 = S::load(b + S::lanes);
#pragma GCC unroll 16
        for (int i = 0; i < tile_rows; ++i) {
            const auto ai = S::broadcast(a[i]);
            sum[i][0] = S::fma(ai, b0, sum[i][0]);
            sum[i][1] = S::fma(ai, b1, sum[i][1]);
        }
    }
    if (rows == tile_rows && cols == tile_cols<T>) {
#pragma GCC unroll 16
        for (int i = 0; i < tile_rows; ++i) {
            T* row = c + i * ldc;
            if (add) {
                sum[i][0] += S::load(row);
                sum[i][1] += S::load(row + S::lanes);
            }
            S::store(row, sum[i][0]);
            S::store(row + S::lanes, sum[i][1]);
        }
        return;
    }
    T edge[tile_rows * tile_cols<T>];
#pragma GCC unroll 16
    for (int i = 0; i < tile_rows; ++i) {
        S::store(edge + i * tile_cols<T>, sum[i][0]);
        S::store(edge + i * tile_cols<T> + S::lanes, sum[i][1]);
    }
    for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < cols; ++j) {
            T& element = c[i * ldc + j];
            const T value = edge[i * tile_cols<T> + j];
            element = add ? value + element : value;
        }
}

/// Memory for the packed panels of this thread, kept from call to call.
template <class T>
T* panel_memory(std::size_t count) {
    thread_local std::vector<std::byte> memory;
    const std::size_t bytes = count * sizeof(T) + 64;
    if (memory.size() < bytes) memory.resize(bytes);
    const auto address = reinterpret_cast<std::uintptr_t>(memory.data());
    return reinterpret_cast<T*>((address + 63) / 64 * 64);
}

/// One block of C, at most block_rows x block_cols.
template <class T>
void multiply_block(std::int64_t m, std::int64_t n, std::int64_t k, MatrixView<T> a, MatrixView<T> b, T* c,
                    std::int64_t ldc, bool accumulate) {
    const std::int64_t depth = std::min(k, inner);
    const std::int64_t a_size = round_up(m, tile_rows) * depth;
    const std::int64_t a_room = round_up(a_size + slack, slack);
    T* const packed_a = panel_memory<T>(static_cast<std::size_t>(a_room + round_up(n, tile_cols<T>) * depth + slack));
    T* const packed_b = packed_a + a_room;
    for (std::int64_t p = 0; p < k; p += inner) {
        const std::int64_t kc = std::min(inner, k - p);
        pack<T, tile_rows>(a.data + p * a.column, a.column, a.row, kc, m, packed_a);
        pack<T, tile_cols<T>>(b.data + p * b.row, b.row, b.column, kc, n, packed_b);
        const bool add = accumulate || p > 0;
        for (std::int64_t j = 0; j < n; j += tile_cols<T>)
            for (std::int64_t i = 0; i < m; i += tile_rows)
                micro_kernel<T>(kc, packed_a + i * kc, packed_b + j * kc, c + i * ldc + j, ldc,
                                std::min<std::int64_t>(tile_rows, m - i), std::min<std::int64_t>(tile_cols<T>, n - j),
                                add);
    }
}

/// A product over nothing is zero.
template <class T>
bool without_terms(std::int64_t m, std::int64_t n, std::int64_t k, T* c, std::int64_t ldc, bool accumulate) {
    if (k > 0) return false;
    if (!accumulate)
        for (std::int64_t i = 0; i < m; ++i) std::fill_n(c + i * ldc, n, T{});
    return true;
}

}  // namespace

template <class T>
void gemm_serial(std::int64_t m, std::int64_t n, std::int64_t k, MatrixView<T> a, MatrixView<T> b, T* c,
                 std::int64_t ldc, bool accumulate) {
    if (without_terms(m, n, k, c, ldc, accumulate)) return;
    for (std::int64_t j = 0; j < n; j += block_cols)
        for (std::int64_t i = 0; i < m; i += block_rows)
            multiply_block<T>(std::min(block_rows, m - i), std::min(block_cols, n - j), k,
                              {a.data + i * a.row, a.row, a.column}, {b.data + j * b.column, b.row, b.column},
                              c + i * ldc + j, ldc, accumulate);
}

template <class T>
void gemm(std::int64_t m, std::int64_t n, std::int64_t k, MatrixView<T> a, MatrixView<T> b, T* c, std::int64_t ldc,
          bool accumulate) {
    if (without_terms(m, n, k, c, ldc, accumulate)) return;
    // Small products keep both packed operands; larger ones are cut so that every thread finds enough blocks.
    const std::int64_t tasks_wanted = 8;
    std::int64_t rows = block_rows;
    std::int64_t cols = std::min(block_cols, round_up(n, tile_cols<T>));
    const auto blocks = [&] { return ((m + rows - 1) / rows) * ((n + cols - 1) / cols); };
    if (m * n * k < 64 * 64 * 64) {
        gemm_serial(m, n, k, a, b, c, ldc, accumulate);
        return;
    }
    while (blocks() < tasks_wanted && cols > 4 * tile_cols<T>) cols = round_up(cols / 2, tile_cols<T>);
    while (blocks() < tasks_wanted && rows > 2 * tile_rows) rows = round_up(rows / 2, tile_rows);
    const std::int64_t row_blocks = (m + rows - 1) / rows;
    parallel_chunks(blocks(), [&](std::int64_t block) {
        const std::int64_t i = block % row_blocks * rows;
        const std::int64_t j = block / row_blocks * cols;
        multiply_block<T>(std::min(rows, m - i), std::min(cols, n - j), k, {a.data + i * a.row, a.row, a.column},
                          {b.data + j * b.column, b.row, b.column}, c + i * ldc + j, ldc, accumulate);
    });
}

template void gemm_serial(std::int64_t, std::int64_t, std::int64_t, MatrixView<float>, MatrixView<float>, float*,
                          std::int64_t, bool);
template void gemm_serial(std::int64_t, std::int64_t, std::int64_t, MatrixView<double>, MatrixView<double>, double*,
                          std::int64_t, bool);
template void gemm(std::int64_t, std::int64_t, std::int64_t, MatrixView<float>, MatrixView<float>, float*, std::int64_t,
                   bool);
template void gemm(std::int64_t, std::int64_t, std::int64_t, MatrixView<double>, MatrixView<double>, double*,
                   std::int64_t, bool);

}  // namespace headscope::kernels
