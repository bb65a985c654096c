// Sums over the heads' blocks of the projections' weights, or of their gradients, read where they lie.
//
// All sums are in f64, in an order that follows from the block's shape alone: equal blocks give equal sums, whichever
// heads they belong to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "autograd/parallel.h"
#include "nn/transformer.h"

namespace headscope::experiments {

/// The weight of a projection: [H*d_k, d_model] for q, k, v; [d_model, H*d_k] for o.
const Tensor& weight_of(const nn::MultiHeadAttention& attention, nn::Projection projection);

/// One head's block of one projection. In any matrix of the weight's shape it starts at element `offset` and has `rows`
/// rows of `cols` elements, each row `stride` elements after the one before.
struct HeadBlock {
    const nn::MultiHeadAttention& attention;
    std::int64_t layer, head;
    nn::Projection projection;
    std::int64_t offset, rows, cols, stride;

    const Tensor& weight() const { return weight_of(attention, projection); }
    /// The place of its weight in a list of all, by layer and projection.
    std::size_t weight_index() const { return static_cast<std::size_t>(layer * 4 + static_cast<int>(projection)); }
};
HeadBlock head_block(const nn::Transformer& model, std::int64_t layer, std::int64_t head, nn::Projection projection);

/// ||X||^2 of a block of a matrix; 0 when the matrix is undefined.
double squared_norm(const Tensor& matrix, const HeadBlock& block);
/// ||X - Y||^2 of the same block of two matrices.
double squared_distance(const Tensor& x, const Tensor& y, const HeadBlock& block);
/// Fills cosines [H, H] with <X_i, X_j> / (||X_i|| ||X_j||), X_i the block of head i of a projection in a matrix like
/// its weight. Exactly 1 on the diagonal and for equal blocks; NaN where a block is zero, everywhere when the matrix is
/// undefined.
void head_cosines(const nn::Transformer& model, std::int64_t layer, nn::Projection projection, const Tensor& matrix,
                  double* cosines);

/// Calls body(layer, projection) for all of them, in parallel where it pays. `elements`: how many each call reads.
template <class Body>
void for_each_projection(const nn::Transformer& model, std::int64_t elements, Body&& body) {
    constexpr std::int64_t worth_a_thread = 1 << 18;  // some 50 us
    const std::int64_t grain = 1 + worth_a_thread / elements;
    parallel_for(model.num_layers() * 4, grain, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) body(i / 4, nn::projections[i % 4]);
    });
}

/// Elements of W_q of a layer; 1 in a model without layers.
inline std::int64_t elements_of_projection(const nn::Transformer& model) {
    return model.blocks.empty() ? 1 : model.blocks.front()->attn.W_q.weight.numel();
}

/// value(block) for every head's block of every projection: [L, H, 4].
template <class Value>
std::vector<double> for_each_block(const nn::Transformer& model, Value&& value) {
    const std::int64_t heads = model.options().block.num_heads;
    std::vector<double> values(static_cast<std::size_t>(model.num_layers() * heads * 4));
    const std::int64_t elements = elements_of_projection(model);
    for_each_projection(model, elements, [&](std::int64_t layer, nn::Projection projection) {
        for (std::int64_t head = 0; head < heads; ++head)
            values[static_cast<std::size_t>((layer * heads + head) * 4 + static_cast<int>(projection))] =
                value(head_block(model, layer, head, projection));
    });
    return values;
}

/// head_cosines() of all projections: [L, 4, H, H]. matrix_of(weight) is the matrix like the weight to take, or
/// undefined.
template <class MatrixOf>
std::vector<double> all_head_cosines(const nn::Transformer& model, MatrixOf&& matrix_of) {
    const std::int64_t heads = model.options().block.num_heads;
    std::vector<double> cosines(static_cast<std::size_t>(model.num_layers() * 4 * heads * heads));
    const std::int64_t elements = elements_of_projection(model) * (heads + 1);
    for_each_projection(model, elements, [&](std::int64_t layer, nn::Projection projection) {
        const Tensor& weight = weight_of(model.blocks[static_cast<std::size_t>(layer)]->attn, projection);
        head_cosines(model, layer, projection, matrix_of(weight),
                     cosines.data() + (layer * 4 + static_cast<int>(projection)) * heads * heads);
    });
    return cosines;
}

}  // namespace headscope::experiments
