#include "nn/orthogonal.h"

#include <Eigen/QR>
#include <algorithm>

namespace headscope::nn {

Tensor random_orthogonal(std::int64_t rows, std::int64_t columns, const RandomStream& random) {
    const std::int64_t tall = std::max(rows, columns), narrow = std::min(rows, columns);
    Eigen::MatrixXd gaussian(tall, narrow);
    for (std::int64_t i = 0; i < gaussian.size(); ++i)
        gaussian.data()[i] = random.normal(static_cast<std::uint64_t>(i));
    // Householder's method chooses signs as it happens; with R's diagonal positive, Q is uniform.
    const Eigen::HouseholderQR<Eigen::MatrixXd> qr(gaussian);
    Eigen::MatrixXd q = qr.householderQ() * Eigen::MatrixXd::Identity(tall, narrow);
    for (std::int64_t j = 0; j < narrow; ++j)
        if (qr.matrixQR()(j, j) < 0) q.col(j) *= -1;
    // The result is row-major and q column-major: a wide matrix, the transpose of a tall q, lies ready.
    if (rows >= columns) q.transposeInPlace();
    Tensor result = Tensor::empty({rows, columns}, DType::f64);
    std::copy_n(q.data(), q.size(), result.data<double>());
    return result;
}

}  // namespace headscope::nn
