// The seam through which every matrix product goes.
//
// Every element of a product is computed the same way wherever it lies: chains of fused multiply-adds over the inner
// index in ascending order, cut every `gemm_inner_block` terms; the chains are added in order. Tiles, edges, threads
// and instruction set change who computes an element, never how. Hence the same bits for any number of threads, and
// columns that start equal (cloned heads) stay equal at any offset and any odd size, which no BLAS library promises.
#pragma once

#include <cstdint>

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

/// The same, cut into tiles that all threads share. Same bits as gemm_serial.
template <class T>
void gemm(std::int64_t m, std::int64_t n, std::int64_t k, MatrixView<T> a, MatrixView<T> b, T* c, std::int64_t ldc,
          bool accumulate);

}  // namespace headscope::kernels
