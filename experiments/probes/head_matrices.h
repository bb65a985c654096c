// The matrices of heads as linear algebra sees them, for probes. All in f64.
//
// Bases. A head's projection W_p^h is a d_model x d_k matrix, its circuits QK = W_q W_k^T and OV = W_v W_o are
// d_model x d_model of rank d_k at most. They are kept as orthonormal bases of their column spaces and the small
// matrix between them, so that nothing of size d x d is ever formed, and an ill-conditioned inner basis of a head costs
// its condition number in accuracy once, not squared.
#pragma once

#include <cstdint>
#include <vector>

#include "experiments/probes/head_pairs.h"
#include "experiments/probes/linear_algebra.h"

namespace headscope::experiments {

/// A tensor [rows, cols] of floats, copied.
Matrix to_matrix(const Tensor& tensor);
/// A head's block with d_model rows and d_k columns: the transpose of what is stored for q, k and v, as stored for o.
Matrix head_matrix(const nn::MultiHeadAttention& attention, std::int64_t head, nn::Projection projection);

/// W_i^T W_j, d_k x d_k, for all pairs of heads of a projection.
class Grams {
public:
    Grams(const nn::MultiHeadAttention& attention, nn::Projection projection);

    /// j <= i; the others are the transposes. Valid while this object lives.
    RowMajorBlock block(std::int64_t i, std::int64_t j) const;

private:
    std::int64_t heads_, width_;
    Tensor values_;  // [H d_k, H d_k]; tensors are quick to allocate
};

/// QK or OV of one head: left * core * right^T. left and right have orthonormal columns.
struct Circuit {
    Matrix left, core, right;
};
enum class CircuitKind { qk, ov };
Circuit head_circuit(const nn::MultiHeadAttention& attention, std::int64_t head, CircuitKind kind);
/// Those of all heads of all layers, [L * H].
std::vector<Circuit> head_circuits(const nn::Transformer& model, CircuitKind kind);

}  // namespace headscope::experiments
