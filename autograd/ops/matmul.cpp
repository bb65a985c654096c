#include "autograd/ops/matmul.h"

#include <algorithm>
#include <array>

#include "autograd/graph.h"
#include "autograd/kernels/gemm.h"
#include "autograd/parallel.h"

namespace headscope {
namespace {

/// The leading axes of a batch of matrices.
Shape batch_of(const Shape& shape) {
    return Shape(std::span<const std::int64_t>(shape.begin(), static_cast<std::size_t>(shape.rank() - 2)));
}

/// Which matrix of an operand with leading axes `from` belongs to matrix `index` of the result, whose are `to`.
std::int64_t source_matrix(std::int64_t index, const Shape& from, const Shape& to) {
    std::int64_t source = 0;
    std::int64_t stride = 1;
    for (int i = 1; i <= to.rank(); ++i) {
        const std::int64_t place = index % to[to.rank() - i];
        index /= to[to.rank() - i];
        if (i > from.rank()) continue;
        const std::int64_t size = from[from.rank() - i];
        if (size != 1) source += place * stride;
        stride *= size;
    }
    return source;
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) {
    const Shape& sa = a.shape();
    const Shape& sb = b.shape();
    const auto complain = [&](const std::string& what) {
        throw Error("matmul: " + what + "; a is " + sa.str() + (transpose_a ? " transposed" : "") + ", b is " +
                    sb.str() + (transpose_b ? " transposed" : ""));
    };
    if (sa.rank() < 2 || sb.rank() < 2) complain("both need two axes at least");
    if (a.dtype() != b.dtype()) complain("the dtypes differ");
    const std::int64_t m = a.size(transpose_a ? -1 : -2);
    const std::int64_t k = a.size(transpose_a ? -2 : -1);
    const std::int64_t n = b.size(transpose_b ? -2 : -1);
    if (b.size(transpose_b ? -1 : -2) != k) complain("the inner sizes differ");

    const Shape batch_a = batch_of(sa);
    const Shape batch_b = batch_of(sb);
    Shape batch;
    try {
        batch = broadcast_shapes(batch_a, batch_b, "matmul");
    } catch (const Error&) {  // it knows the leading axes alone
        complain("the leading axes do not broadcast");
    }
    std::array<std::int64_t, Shape::max_rank> sizes{};
    std::copy(batch.begin(), batch.end(), sizes.begin());
    sizes[static_cast<std::size_t>(batch.rank())] = m;
    sizes[static_cast<std::size_t>(batch.rank()) + 1] = n;
    Tensor c = Tensor::empty(
        Shape(std::span<const std::int64_t>(sizes.data(), static_cast<std::size_t>(batch.rank()) + 2)), a.dtype());

    dispatch_float(a.dtype(), "matmul", [&](auto zero) {
        using T = decltype(zero);
        const T* pa = a.data<T>();
        const T* pb = b.data<T>();
        T* pc = c.data<T>();
        const auto view_a = [&](std::int64_t i) {
            return kernels::MatrixView<T>{pa + i * m * k, transpose_a ? 1 : k, transpose_a ? m : 1};
        };
        const auto view_b = [&](std::int64_t i) {
            return kernels::MatrixView<T>{pb + i * k * n, transpose_b ? 1 : n, transpose_b ? k : 1};
        };
        const std::int64_t count = batch.numel();
        if (count == 1) {
            kernels::gemm<T>(m, n, k, view_a(0), view_b(0), pc, n, false);
        } else if (batch_b.numel() == 1 && !transpose_a) {  // one tall product
            kernels::gemm<T>(count * m, n, k, view_a(0), view_b(0), pc, n, false);
        } else {
            parallel_chunks(count, [&](std::int64_t i) {
                kernels::gemm_serial<T>(m, n, k, view_a(source_matrix(i, batch_a, batch)),
                                        view_b(source_matrix(i, batch_b, batch)), pc + i * m * n, n, false);
            });
        }
    });

    return record("matmul", {a, b}, c, {a, b}, [transpose_a, transpose_b](Backward& bw) {
        const Tensor& g = bw.grad();  // C = A B, A = op(a) [M, K], B = op(b) [K, N], g [M, N]
        const Tensor& a = bw.saved(0);
        const Tensor& b = bw.saved(1);
        if (bw.needs(0))  // dA = g B^T; where a is stored transposed, its transpose B g^T
            bw.set(0, transpose_a ? matmul(b, g, transpose_b, true) : matmul(g, b, false, !transpose_b));
        if (bw.needs(1))  // dB = A^T g; likewise g^T A
            bw.set(1, transpose_b ? matmul(g, a, true, transpose_a) : matmul(a, g, !transpose_a, false));
    });
}

}  // namespace headscope
