// Weights as f64 matrices, for the probes that calculate with them.
#pragma once

#include <Eigen/Core>

#include "nn/multi_head_attention.h"

namespace headscope {

/// A tensor [rows, cols] of floats, copied.
inline Eigen::MatrixXd to_matrix(const Tensor& tensor) {
    using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const Tensor values = tensor.to(DType::f64);
    return Eigen::Map<const RowMajor>(values.data<double>(), values.size(0), values.size(1));
}

/// A head's block with d_model rows and d_k columns: the transpose of what is stored for q, k and v, as stored for o.
inline Eigen::MatrixXd head_matrix(const nn::MultiHeadAttention& attention, std::int64_t head,
                                   nn::Projection projection) {
    const Eigen::MatrixXd stored = to_matrix(head_slice(attention, head, projection).values());
    if (projection == nn::Projection::o) return stored;
    return stored.transpose();
}

}  // namespace headscope
