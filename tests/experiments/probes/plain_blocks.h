// What tests of probes know about where a head's weights lie, element by element. For models like small_model(): 2
// layers of 3 heads.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "tests/experiments/probes/probe_helpers.h"

namespace headscope::plain {

constexpr std::int64_t layers = 2, heads = 3;

/// Projections are 0, 1, 2, 3 for q, k, v, o.
inline Tensor weight_of(const nn::Transformer& model, std::int64_t layer, int projection) {
    const nn::MultiHeadAttention& attention = model.blocks[static_cast<std::size_t>(layer)]->attn;
    const Tensor weights[] = {attention.W_q.weight, attention.W_k.weight, attention.W_v.weight, attention.W_o.weight};
    return weights[projection];
}

/// Where element (d, k) of a head's block, seen as d_model x d_k, lies in a matrix like the projection's weight.
inline std::int64_t place(const Tensor& matrix, int projection, std::int64_t head, std::int64_t d, std::int64_t k) {
    const std::int64_t d_k = matrix.size(projection < 3 ? 0 : 1) / heads;
    return projection < 3 ? (head * d_k + k) * matrix.size(1) + d : d * matrix.size(1) + head * d_k + k;
}

using Matrix = std::vector<std::vector<double>>;  // rows

/// A head's block, d_model x d_k.
inline Matrix matrix_of(const Tensor& matrix, int projection, std::int64_t head) {
    const Tensor values = matrix.to(DType::f64);
    const std::int64_t d_model = matrix.size(projection < 3 ? 1 : 0), d_k = matrix.size(projection < 3 ? 0 : 1) / heads;
    Matrix result;
    for (std::int64_t d = 0; d < d_model; ++d) {
        result.emplace_back();
        for (std::int64_t k = 0; k < d_k; ++k)
            result.back().push_back(values.data<double>()[place(matrix, projection, head, d, k)]);
    }
    return result;
}

/// Its elements.
inline std::vector<double> block(const Tensor& matrix, int projection, std::int64_t head) {
    std::vector<double> values;
    for (const auto& row : matrix_of(matrix, projection, head)) values.insert(values.end(), row.begin(), row.end());
    return values;
}

inline double dot(const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
}

inline double norm(const std::vector<double>& a) { return std::sqrt(dot(a, a)); }

/// Calls body(index, layer, head, projection) in the order of [L, H, 4].
template <class Body>
void for_each_block(Body&& body) {
    std::size_t index = 0;
    for (std::int64_t layer = 0; layer < layers; ++layer)
        for (std::int64_t head = 0; head < heads; ++head)
            for (int projection = 0; projection < 4; ++projection) body(index++, layer, head, projection);
}

/// One of a list in the order of the model's parameters.
inline const Tensor& of_parameter(const nn::Transformer& model, const std::vector<Tensor>& list,
                                  const Tensor& parameter) {
    const auto parameters = model.named_parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i)
        if (parameters[i].tensor.id() == parameter.id()) return list[i];
    throw Error("of_parameter: no parameter of the model");
}

}  // namespace headscope::plain
