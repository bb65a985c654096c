#include "experiments/probes/random_heads.h"

#include <algorithm>
#include <cmath>

namespace headscope::experiments {

Matrix Bidiagonal::times(const Matrix& M) const {
    Matrix product = diagonal.asDiagonal() * M;
    product.topRows(above.size()) += above.asDiagonal() * M.bottomRows(above.size());
    return product;
}

Matrix RandomHeads::normal(Eigen::Index rows, Eigen::Index cols) {
    Matrix values(rows, cols);
    for (Eigen::Index i = 0; i < values.size(); ++i) values.data()[i] = next_normal();
    return values;
}

Matrix RandomHeads::triangle(Eigen::Index d, Eigen::Index k) {
    Matrix R = Matrix::Zero(std::min(d, k), k);
    for (Eigen::Index i = 0; i < R.rows(); ++i) {
        R(i, i) = chi(d - i);
        for (Eigen::Index j = i + 1; j < k; ++j) R(i, j) = next_normal();
    }
    return R;
}

Bidiagonal RandomHeads::bidiagonal(Eigen::Index d, Eigen::Index k) {
    const Eigen::Index rows = std::max(d, k), n = std::min(d, k);
    Bidiagonal S{Eigen::VectorXd(n), Eigen::VectorXd(n - 1)};
    for (Eigen::Index i = 0; i < n; ++i) S.diagonal(i) = chi(rows - i);
    for (Eigen::Index i = 0; i + 1 < n; ++i) S.above(i) = chi(n - 1 - i);
    return S;
}

double RandomHeads::squared_norm_of_product(const Bidiagonal& S, Eigen::Index rows) {
    // Row i of S N is S_ii r_i + S_i,i+1 r_i+1, so the rows' lengths and the products of neighbours will do. r_i+1
    // along r_i is one normal, and what is left of it has a length of its own that no other row depends on.
    if (rows == 0) return 0;
    double sum = 0, length = chi(rows);
    for (Eigen::Index i = 0; i < S.diagonal.size(); ++i) {
        const double own = S.diagonal(i) * length;
        if (i == S.above.size()) return sum + own * own;
        const double along = next_normal(), across = rows > 1 ? chi(rows - 1) : 0;
        const double x = own + S.above(i) * along, y = S.above(i) * across;
        sum += x * x + y * y;
        length = std::hypot(along, across);
    }
    return sum;
}

double RandomHeads::next_normal() {
    if (has_spare_) {
        has_spare_ = false;
        return spare_;
    }
    const auto [first, second] = random_.normal_pair(index_++);
    spare_ = second;
    has_spare_ = true;
    return first;
}

double RandomHeads::chi(Eigen::Index degrees) {
    if (degrees == 1) return std::abs(next_normal());
    // chi^2 = 2 gamma(degrees / 2), by rejection (Marsaglia and Tsang 2000).
    const double shift = static_cast<double>(degrees) / 2 - 1.0 / 3, scale = 1 / std::sqrt(9 * shift);
    while (true) {
        const double x = next_normal(), root = 1 + scale * x, v = root * root * root;
        if (v <= 0) continue;
        const double u = random_.uniform(index_++);
        if (std::log(u) < x * x / 2 + shift * (1 - v + std::log(v))) return std::sqrt(2 * shift * v);
    }
}

}  // namespace headscope::experiments
