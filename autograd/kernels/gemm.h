// The seam through which every matrix product goes.
//
// Every element of a product is computed the same way wherever it lies: chains of fused multiply-adds over the inner
// index in ascending order, cut every `gemm_inner_block` terms; the chains are added in order. Tiles, edges, threads
// and instruction set change who computes an element, never how. Hence the same bits for any number of threads, and
// columns that start equal (cloned heads) stay equal at any offset and any odd size, which no BLAS library promises.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace headscope::kernels {

/// Terms in one chain of multiply-adds.
inline constexpr std::int64_t gemm_inner_block = 256;

/// A matrix in memory: element (i, j) is at data[i * row + j * column]. A transpose swaps the strides.
template <class T>
struct MatrixView {
    const T* data;
    std::int64_t row;
    std::int64_t column;
};

/// C[m, n] = A[m, k] B[k, n], or C += A B when `accumulate`. C's rows are `ldc` apart, its columns 1.
/// Runs in the calling thread, so it may be called inside a parallel region. T = float or double.
template <class T>
void gemm_serial(std::int64_t m, std::int64_t n, std::int64_t k, MatrixView<T> a, MatrixView<T> b, T* c,
                 std::int64_t ldc, bool accumulate);

/// The same, cut into blocks that all threads share. Same bits as gemm_serial.
template <class T>
void gemm(std::int64_t m, std::int64_t n, std::int64_t k, MatrixView<T> a, MatrixView<T> b, T* c, std::int64_t ldc,
          bool accumulate);

/// Called in the thread that computed it, once for each finished block of C: rows [i, i + rows), columns [j, j + cols).
template <class T>
struct BlockFunction {
    void (*call)(const void* context, std::int64_t i, std::int64_t j, std::int64_t rows, std::int64_t cols) = nullptr;
    const void* context = nullptr;
};

/// C[m, n] = sum over terms of A B, then + bias (to every row), then + add. The first chain of the first term meets
/// bias and add; the chains after it are added in order.
template <class T>
struct MatrixProduct {
    struct Term {
        MatrixView<T> a, b;  ///< [m, k], [k, n]
        std::int64_t k = 0;  ///< 0: no such term
    };
    std::int64_t m, n;
    std::array<Term, 3> terms;
    T* c;
    std::int64_t ldc;
    const T* bias = nullptr;  ///< [n]
    const T* add = nullptr;   ///< [m, n], rows add_row apart; may be c
    std::int64_t add_row = 0;
    BlockFunction<T> finish = {};
};

/// sums[j] = sum over the rows of x[rows, cols], whose rows are `row` apart. Runs of 32 rows are added up in T, the
/// runs in f64: in order, whatever the column.
template <class T>
struct ColumnSums {
    const T* x;
    std::int64_t rows, cols, row;
    T* sums;
};

/// Independent products and sums in one parallel region; none may read what another writes.
template <class T>
void gemm(std::span<const MatrixProduct<T>> products, std::span<const ColumnSums<T>> sums = {});

template <class T>
void gemm(const MatrixProduct<T>& product) {
    gemm<T>(std::span<const MatrixProduct<T>>(&product, 1));
}

}  // namespace headscope::kernels
