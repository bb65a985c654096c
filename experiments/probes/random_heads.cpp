#include "experiments/probes/random_heads.h"

#include <cmath>

namespace headscope::experiments {

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
