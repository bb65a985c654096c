#include "experiments/probes/head_blocks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace headscope::experiments {

namespace {

/// Sum of term(i), i the places of a block's elements in its matrix. Many sums side by side, so that the additions need
/// not wait for each other and the compiler can use vectors.
template <class Term>
double sum_over(const HeadBlock& block, Term&& term) {
    constexpr std::int64_t lanes = 16;
    std::array<double, lanes> sums{};
    // Whole rows of the matrix lie one after the other.
    const bool whole = block.cols == block.stride;
    const std::int64_t rows = whole ? 1 : block.rows, cols = whole ? block.rows * block.cols : block.cols;
    for (std::int64_t row = 0; row < rows; ++row) {
        const std::int64_t begin = block.offset + row * block.stride;
        std::int64_t col = 0;
        for (; col + lanes <= cols; col += lanes)
            for (std::int64_t lane = 0; lane < lanes; ++lane)
                sums[static_cast<std::size_t>(lane)] += term(begin + col + lane);
        for (std::int64_t lane = 0; col + lane < cols; ++lane)
            sums[static_cast<std::size_t>(lane)] += term(begin + col + lane);
    }
    for (std::size_t half = lanes / 2; half > 0; half /= 2)
        for (std::size_t lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
    return sums[0];
}

/// <X_i, X_j> of two blocks of equal shape, the second `apart` elements after the first.
double inner_product(const Tensor& matrix, const HeadBlock& block, std::int64_t apart) {
    return dispatch_float(matrix.dtype(), "head_cosines", [&](auto zero) {
        const auto* const x = matrix.data<decltype(zero)>();
        const auto* const y = x + apart;
        return sum_over(block, [=](std::int64_t i) { return static_cast<double>(x[i]) * static_cast<double>(y[i]); });
    });
}

}  // namespace

const Tensor& weight_of(const nn::MultiHeadAttention& attention, nn::Projection projection) {
    switch (projection) {
        case nn::Projection::q: return attention.W_q.weight;
        case nn::Projection::k: return attention.W_k.weight;
        case nn::Projection::v: return attention.W_v.weight;
        case nn::Projection::o: return attention.W_o.weight;
    }
    throw Error("weight_of: no such projection");
}

HeadBlock head_block(const nn::Transformer& model, std::int64_t layer, std::int64_t head, nn::Projection projection) {
    const nn::MultiHeadAttention& attention = model.blocks[static_cast<std::size_t>(layer)]->attn;
    const std::int64_t d = attention.d_model(), d_k = attention.head_dim();
    if (projection == nn::Projection::o)
        return {attention, layer, head, projection, head * d_k, d, d_k, attention.num_heads() * d_k};
    const std::int64_t row = projection == nn::Projection::q ? head : attention.kv_head_of(head);
    return {attention, layer, head, projection, row * d_k * d, d_k, d, d};
}

double squared_norm(const Tensor& matrix, const HeadBlock& block) {
    return matrix.defined() ? inner_product(matrix, block, 0) : 0;
}

double squared_distance(const Tensor& x, const Tensor& y, const HeadBlock& block) {
    return dispatch_float(x.dtype(), "squared_distance", [&](auto zero) {
        const auto* const a = x.data<decltype(zero)>();
        const auto* const b = y.data<decltype(zero)>();
        return sum_over(block, [=](std::int64_t i) {
            const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
            return difference * difference;
        });
    });
}

void head_cosines(const nn::Transformer& model, std::int64_t layer, nn::Projection projection, const Tensor& matrix,
                  double* cosines) {
    const std::int64_t heads = model.options().block.num_heads;
    std::fill_n(cosines, heads * heads, std::numeric_limits<double>::quiet_NaN());
    if (!matrix.defined()) return;
    const auto block = [&](std::int64_t head) { return head_block(model, layer, head, projection); };
    // The diagonal holds the squared norms until the end.
    for (std::int64_t i = 0; i < heads; ++i) cosines[i * heads + i] = squared_norm(matrix, block(i));
    for (std::int64_t i = 0; i < heads; ++i)
        for (std::int64_t j = 0; j < i; ++j) {
            // The root of a rounded square is the number itself: equal blocks give exactly 1.
            const double norms = std::sqrt(cosines[i * heads + i] * cosines[j * heads + j]);
            if (!(norms > 0)) continue;
            const double cosine = inner_product(matrix, block(j), block(i).offset - block(j).offset) / norms;
            cosines[i * heads + j] = cosines[j * heads + i] = std::clamp(cosine, -1.0, 1.0);
        }
    for (std::int64_t i = 0; i < heads; ++i)
        cosines[i * heads + i] = cosines[i * heads + i] > 0 ? 1 : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace headscope::experiments
