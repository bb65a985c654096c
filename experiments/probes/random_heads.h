// Random heads, for nulls without a closed form: the distribution of a metric for independent normal weights.
//
// A metric that no rotation of the residual stream or of a head's inner basis changes needs only as many random numbers
// as are left when all rotations are taken out. For a d x k matrix A of independent standard normals, d >= k:
//   A = U R    U uniform and independent of R, which is upper triangular with independent entries: R_ii^2 ~ chi^2 with
//              d - i degrees of freedom (i from 0), normals above the diagonal (Bartlett 1933)
//   A = U S V  U and V uniform and independent of S, which is upper bidiagonal with independent entries: S_ii^2 ~ chi^2
//              with d - i degrees of freedom, S_i,i+1^2 with k - 1 - i (Golub and Kahan 1965, Silverstein 1985)
// Both are exact. With d < k, R is [d, k] and A transposed gives S. Of two heads, one can be rotated so that its U is
// the first k unit vectors; the other's part in that subspace is then its first k rows, all normal.
#pragma once

#include <cstdint>
#include <string_view>

#include "autograd/random.h"
#include "experiments/probes/linear_algebra.h"

namespace headscope::experiments {

/// An upper bidiagonal matrix, n x n.
struct Bidiagonal {
    Eigen::VectorXd diagonal, above;  ///< n and n - 1 numbers

    Matrix times(const Matrix& M) const;  ///< S M
};

/// The random numbers of one draw.
class RandomHeads {
public:
    /// The same numbers for the same name and draw, whatever was drawn before.
    RandomHeads(std::string_view stream, std::uint64_t draw) : random_(0, stream, draw) {}

    /// [rows, cols] of independent standard normals.
    Matrix normal(Eigen::Index rows, Eigen::Index cols);
    /// R above, [min(d, k), k].
    Matrix triangle(Eigen::Index d, Eigen::Index k);
    /// S above, n = min(d, k).
    Bidiagonal bidiagonal(Eigen::Index d, Eigen::Index k);
    /// ||S N||_F^2 for S and N [n, rows] of independent standard normals, drawn here.
    double squared_norm_of_product(const Bidiagonal& S, Eigen::Index rows);

private:
    double chi(Eigen::Index degrees);
    double next_normal();

    RandomStream random_;
    std::uint64_t index_ = 0;
    double spare_ = 0;  ///< the second of a pair
    bool has_spare_ = false;
};

}  // namespace headscope::experiments
