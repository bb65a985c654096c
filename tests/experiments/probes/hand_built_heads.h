// Writing the blocks of heads by hand, and in other bases.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "tests/experiments/probes/probe_helpers.h"

namespace headscope::experiments {

using Columns = std::vector<std::vector<double>>;  // of W_p^h as d_model x d_k; those not given are 0

inline nn::TransformerOptions shape(std::int64_t layers, std::int64_t heads, std::int64_t d_model,
                                    std::int64_t head_dim) {
    nn::TransformerOptions options = small_model(d_model, head_dim);
    options.num_layers = layers;
    options.block.num_heads = heads;
    return options;
}

inline void set_block(ProbeBench& bench, std::size_t layer, std::int64_t head, nn::Projection projection,
                      const Columns& columns) {
    const nn::HeadSlice slice = head_slice(bench.model.blocks[layer]->attn, head, projection);
    Tensor values = Tensor::zeros({slice.rows, slice.cols}, DType::f64);
    for (std::size_t k = 0; k < columns.size(); ++k)
        for (std::size_t d = 0; d < columns[k].size(); ++d) {
            const std::size_t at = projection == nn::Projection::o ? d * static_cast<std::size_t>(slice.cols) + k
                                                                   : k * static_cast<std::size_t>(slice.cols) + d;
            values.data<double>()[at] = columns[k][d];
        }
    slice.assign(values);
}

/// length * e_index, in d dimensions.
inline std::vector<double> unit(std::size_t d, std::size_t index, double length = 1) {
    std::vector<double> vector(d, 0.0);
    vector[index] = length;
    return vector;
}

/// columns R with R = (1 - 2 u u^T) diag (1 - 2 v v^T), u and v random unit vectors. The inverse transpose of R is the
/// same with 1 / diag.
inline Columns mixed(const Columns& columns, const std::vector<double>& diagonal, const std::string& stream) {
    const std::size_t k = columns.size();
    Columns result = columns;
    const auto reflect = [&](const std::string& name) {
        const RandomStream random(3, name);
        std::vector<double> v(k);
        double squares = 0;
        for (std::size_t i = 0; i < k; ++i) squares += std::pow(v[i] = random.normal(i), 2);
        for (std::size_t row = 0; row < columns[0].size(); ++row) {
            double share = 0;
            for (std::size_t i = 0; i < k; ++i) share += result[i][row] * v[i];
            for (std::size_t i = 0; i < k; ++i) result[i][row] -= 2 * share * v[i] / squares;
        }
    };
    reflect(stream + ".left");
    for (std::size_t i = 0; i < k; ++i)
        for (double& value : result[i]) value *= diagonal[i];
    reflect(stream + ".right");
    return result;
}

inline Columns block_columns(const ProbeBench& bench, std::size_t layer, std::int64_t head, nn::Projection projection) {
    const nn::HeadSlice slice = head_slice(bench.model.blocks[layer]->attn, head, projection);
    const Tensor values = slice.values();
    const bool output = projection == nn::Projection::o;
    Columns columns(static_cast<std::size_t>(output ? slice.cols : slice.rows));
    for (std::size_t k = 0; k < columns.size(); ++k)
        for (std::int64_t d = 0; d < (output ? slice.rows : slice.cols); ++d)
            columns[k].push_back(output ? values.at({d, static_cast<std::int64_t>(k)})
                                        : values.at({static_cast<std::int64_t>(k), d}));
    return columns;
}

}  // namespace headscope::experiments
