#include "experiments/probes/head_matrices.h"

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <Eigen/QR>
#include <algorithm>
#include <limits>

#include "autograd/kernels/gemm.h"

namespace headscope::experiments {

namespace {

using Solver = Eigen::SelfAdjointEigenSolver<Matrix>;

/// Makes A's columns orthonormal and writes them over A; the factor goes to `rest`. False, and nothing done, when A^T A
/// is singular or nearly so.
bool cholesky_step(Matrix& A, Matrix& rest) {
    // A^T A = L L^T, so A = (A L^-T) L^T.
    Matrix gram = Matrix::Zero(A.cols(), A.cols());
    gram.selfadjointView<Eigen::Lower>().rankUpdate(A.transpose());
    const Eigen::LLT<Matrix> cholesky(gram);
    if (cholesky.info() != Eigen::Success || cholesky.rcond() < 1e-8) return false;
    cholesky.matrixU().solveInPlace<Eigen::OnTheRight>(A);
    rest = cholesky.matrixU();
    return true;
}

}  // namespace

Matrix to_matrix(const Tensor& tensor) {
    const Tensor values = tensor.to(DType::f64);
    return Eigen::Map<const RowMajorMatrix>(values.data<double>(), values.size(0), values.size(1));
}

Matrix head_matrix(const nn::MultiHeadAttention& attention, std::int64_t head, nn::Projection projection) {
    const Matrix stored = to_matrix(head_slice(attention, head, projection).values());
    if (projection == nn::Projection::o) return stored;
    return stored.transpose();
}

Grams::Grams(const nn::MultiHeadAttention& attention, nn::Projection projection)
    : heads_(attention.num_heads()), width_(attention.head_dim()) {
    const Tensor weight = weight_of(attention, projection).to(DType::f64);
    const double* const W = weight.data<double>();
    const std::int64_t d = attention.d_model(), all = heads_ * width_;
    const bool columns = projection == nn::Projection::o;  // the others lie as rows
    const std::int64_t inner = columns ? 1 : d, outer = columns ? all : 1;
    values_ = Tensor::empty({all, all}, DType::f64);
    for (std::int64_t i = 0; i < heads_; ++i)
        kernels::gemm_serial<double>(width_, (i + 1) * width_, d, {W + i * width_ * inner, inner, outer},
                                     {W, outer, inner}, values_.data<double>() + i * width_ * all, all, false);
}

Grams::Block Grams::block(std::int64_t i, std::int64_t j) const {
    const std::int64_t all = heads_ * width_;
    return Block(values_.data<double>() + i * width_ * all + j * width_, width_, width_, Eigen::OuterStride<>(all));
}

Factors orthonormal_factors(const Matrix& A) {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    const Eigen::Index most = std::min(A.rows(), A.cols());
    if (!A.allFinite()) return {Matrix::Constant(A.rows(), most, nan), Matrix::Constant(most, A.cols(), nan)};
    // The quick way: one Cholesky step leaves columns orthonormal up to rounding times the condition number of A^T A,
    // which the limit keeps below 1e-8; the second brings that to rounding (Yamamoto et al. 2015, "CholeskyQR2").
    if (A.cols() <= A.rows()) {
        Factors factors{A, {}};
        Matrix first, second;
        if (cholesky_step(factors.basis, first) && cholesky_step(factors.basis, second)) {
            factors.rest = second * first;
            return factors;
        }
    }
    // A P = Q R; rows of R below the rank are rounding.
    const Eigen::ColPivHouseholderQR<Matrix> qr(A);
    const Eigen::Index rank = qr.rank();
    const Matrix R = qr.matrixR().topRows(rank).triangularView<Eigen::Upper>();
    return {qr.householderQ() * Matrix::Identity(A.rows(), rank), R * qr.colsPermutation().transpose()};
}

Eigen::VectorXd singular_values(const Matrix& A) {
    if (A.size() == 0) return Eigen::VectorXd(0);
    const Matrix gram = A.cols() <= A.rows() ? Matrix(A.transpose() * A) : Matrix(A * A.transpose());
    if (!gram.allFinite()) return Eigen::VectorXd::Constant(gram.cols(), std::numeric_limits<double>::quiet_NaN());
    const Solver solver(gram, Eigen::EigenvaluesOnly);  // rising
    return solver.eigenvalues().reverse().cwiseMax(0).cwiseSqrt();
}

Matrix leading_directions(const Matrix& A, std::int64_t count) {
    const Factors factors = orthonormal_factors(A);
    const Eigen::Index rank = factors.basis.cols();
    if (rank == 0) return factors.basis;
    const Solver solver(factors.rest * factors.rest.transpose());
    return factors.basis * solver.eigenvectors().rightCols(std::min<Eigen::Index>(count, rank));
}

Circuit head_circuit(const nn::MultiHeadAttention& attention, std::int64_t head, CircuitKind kind) {
    const bool qk = kind == CircuitKind::qk;
    Factors left = orthonormal_factors(head_matrix(attention, head, qk ? nn::Projection::q : nn::Projection::v));
    Factors right = orthonormal_factors(head_matrix(attention, head, qk ? nn::Projection::k : nn::Projection::o));
    return {std::move(left.basis), left.rest * right.rest.transpose(), std::move(right.basis)};
}

std::vector<Circuit> head_circuits(const nn::Transformer& model, CircuitKind kind) {
    const std::int64_t heads = model.options().block.num_heads;
    std::vector<Circuit> circuits(static_cast<std::size_t>(model.num_layers() * heads));
    parallel_chunks(model.num_layers() * heads, [&](std::int64_t i) {
        circuits[static_cast<std::size_t>(i)] =
            head_circuit(model.blocks[static_cast<std::size_t>(i / heads)]->attn, i % heads, kind);
    });
    return circuits;
}

}  // namespace headscope::experiments
