#include "experiments/probes/linear_algebra.h"

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <Eigen/QR>
#include <Eigen/SVD>
#include <algorithm>
#include <limits>

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

Matrix multiply(const Matrix& A, const Matrix& B) { return A * B; }

Matrix multiply_tn(const Matrix& A, const Matrix& B) { return A.transpose() * B; }

Matrix multiply_nt(const Matrix& A, const Matrix& B) { return A * B.transpose(); }

void multiply_between(const RowMajorMatrix& L_i, const RowMajorBlock& G, const RowMajorMatrix& L_j,
                      RowMajorMatrix& half, RowMajorMatrix& result) {
    half.noalias() = L_i * G;
    result.noalias() = half * L_j.transpose();
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

Matrix upper_triangle(const Matrix& A) {
    const Eigen::Index rank = std::min(A.rows(), A.cols());
    return A.householderQr().matrixQR().topRows(rank).triangularView<Eigen::Upper>();
}

Eigen::VectorXcd eigenvalues(const Matrix& A) { return A.eigenvalues(); }

double pseudo_inverse_norm(const Matrix& M, const Matrix& W, double eps) {
    // The quick way: W W^T = L L^T, and the norm is that of L^-1 M. Its error grows with the condition number of the
    // Gram matrix, which the limit bounds, and which keeps every singular value above the tolerance.
    const double tolerance = static_cast<double>(std::max(W.rows(), W.cols())) * eps;
    if (W.rows() <= W.cols()) {
        const Eigen::LLT<Matrix> cholesky(W * W.transpose());
        if (cholesky.info() == Eigen::Success && cholesky.rcond() > std::max(1e-8, 100 * tolerance * tolerance))
            return cholesky.matrixL().solve(M).norm();
    }
    // W = U S V^T: the norm is that of S^-1 U^T M.
    const Eigen::JacobiSVD<Matrix> svd(W, Eigen::ComputeThinU);
    const auto& singular = svd.singularValues();
    const auto rank = (singular.array() > tolerance * singular(0)).count();
    const Matrix turned = svd.matrixU().leftCols(rank).transpose() * M;
    return (singular.head(rank).cwiseInverse().asDiagonal() * turned).norm();
}

}  // namespace headscope::experiments
