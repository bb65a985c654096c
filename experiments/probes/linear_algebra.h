// Products and decompositions of small matrices in f64. Eigen's templates for them are instantiated in one source,
// since they are what takes longest to compile: other sources include <Eigen/Core> alone, through this header.
#pragma once

#include <Eigen/Core>
#include <cstdint>

namespace headscope::experiments {

using Matrix = Eigen::MatrixXd;
using RowMajorMatrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
/// A block of a larger matrix, read in place.
using RowMajorBlock = Eigen::Map<const RowMajorMatrix, 0, Eigen::OuterStride<>>;

Matrix multiply(const Matrix& A, const Matrix& B);     ///< A B
Matrix multiply_tn(const Matrix& A, const Matrix& B);  ///< A^T B
Matrix multiply_nt(const Matrix& A, const Matrix& B);  ///< A B^T
/// L_i G L_j^T, over memory of `half` and `result` that is used again from call to call.
void multiply_between(const RowMajorMatrix& L_i, const RowMajorBlock& G, const RowMajorMatrix& L_j,
                      RowMajorMatrix& half, RowMajorMatrix& result);

/// A = basis * rest: basis [d, rank] has orthonormal columns, rest is [rank, A's columns].
struct Factors {
    Matrix basis, rest;
};
/// What A's columns span, up to rounding (A's rank is that of a pivoted QR factorisation). All NaN when A is not
/// finite.
Factors orthonormal_factors(const Matrix& A);

/// In falling order, right to 1e-8 of the largest. NaN when A is not finite.
Eigen::VectorXd singular_values(const Matrix& A);
/// The first `count` columns of A's left singular vectors, or as many as A has singular values above rounding.
Matrix leading_directions(const Matrix& A, std::int64_t count);

/// R [min(rows, columns), columns] of A = Q R, by Householder reflections.
Matrix upper_triangle(const Matrix& A);

/// Of a square matrix, in no particular order.
Eigen::VectorXcd eigenvalues(const Matrix& A);

/// ||pinv(W)^T M||_F for M and W of as many rows. Singular values of W at or below max(rows, columns) * eps times the
/// largest count as 0.
double pseudo_inverse_norm(const Matrix& M, const Matrix& W, double eps);

}  // namespace headscope::experiments
