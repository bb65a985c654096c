// Attention from plain ops: slow, plain to read, and what the fused kernel is held against.
#include <algorithm>
#include <cmath>

#include "autograd/graph.h"
#include "autograd/ops/activation.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/attention_plan.h"
#include "autograd/ops/dropout.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/extremum.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/reduction.h"
#include "autograd/ops/shaping.h"
#include "autograd/ops/softmax.h"

namespace headscope {
namespace {

/// elu(x) + 1 = e^x below 0, x + 1 above
Tensor positive_features(const Tensor& x) {
    const Tensor above = relu(x);
    return above + exp(x - above);
}

/// [B, H, Tq, 1], outside the graph: 1 where a row's sum can be divided by, 0 where it is too small or nothing is seen.
Tensor rows_with_weights(const Tensor& fq, const Tensor& fk, const Tensor& seen, const Tensor& totals) {
    if (fk.size(2) == 0) return Tensor::zeros(totals.shape(), totals.dtype());
    const NoGrad no_grad;
    const Tensor of_keys = reshape(max(fk, {-1}), {fk.size(0), fk.size(1), 1, fk.size(2)});
    const Tensor largest_key = max(seen.defined() ? of_keys * seen : of_keys, {-1}, true);  // [B, H, Tq|1, 1]
    const Tensor all_keys = broadcast_to(largest_key, totals.shape()), all_queries = max(fq, {-1}, true);
    Tensor good = Tensor::empty(totals.shape(), totals.dtype());
    dispatch_float(totals.dtype(), "attention", [&](auto zero) {
        using T = decltype(zero);
        for (std::int64_t i = 0; i < good.numel(); ++i) {
            const T largest = std::max({T{1}, all_keys.data<T>()[i], all_queries.data<T>()[i]});
            good.data<T>()[i] = totals.data<T>()[i] < least_linear_total(largest) ? T{0} : T{1};
        }
    });
    return good;
}

/// phi(q) phi(k)^T, over its sum along the visible keys
Tensor linear_weights(const Tensor& q, const Tensor& k, const Tensor& visible) {
    const Tensor fq = positive_features(q), fk = positive_features(k);
    Tensor scores = matmul(fq, fk, false, true), seen;
    if (visible.defined()) {
        seen = visible.to(scores.dtype());
        scores = scores * seen;
    }
    const Tensor total = sum(scores, {-1}, true);
    const Tensor good = rows_with_weights(fq, fk, seen, total);
    const Tensor one = Tensor::full({}, 1, total.dtype());
    return scores * good / (total * good + (one - good));  // 0 / 1 in the other rows
}

}  // namespace

Tensor split_heads(const Tensor& x, std::int64_t heads) {
    return permute(reshape(x, {x.size(0), x.size(1), heads, -1}), {0, 2, 1, 3});
}

Tensor join_heads(const Tensor& x) {
    return reshape(permute(x, {0, 2, 1, 3}), {x.size(0), x.size(2), x.size(1) * x.size(3)});
}

Tensor attention_scores(const Tensor& q, const Tensor& k, std::int64_t heads) {
    const Tensor qh = split_heads(q, heads);  // [B, H, Tq, d_k]
    const double factor = 1 / std::sqrt(static_cast<double>(qh.size(3)));
    return scale(matmul(qh, split_heads(k, heads), false, true), factor);
}

Tensor alibi_bias(std::int64_t queries, std::int64_t keys, const AttentionOptions& options, DType dtype) {
    const std::int64_t all = options.alibi_heads > 0 ? options.alibi_heads : options.num_heads;
    Tensor bias = Tensor::empty({1, options.num_heads, queries, keys}, DType::f64);
    double* out = bias.data<double>();
    for (std::int64_t h = 0; h < options.num_heads; ++h)
        for (std::int64_t i = 0; i < queries; ++i)
            for (std::int64_t j = 0; j < keys; ++j)
                *out++ = -alibi_slope(options.alibi_first + h, all) * static_cast<double>(std::abs(i - j));
    return bias.to(dtype);
}

Tensor visible_keys(const Mask& mask, std::int64_t queries, std::int64_t keys) {
    if (!mask.is_causal()) return mask.tensor();
    Tensor lower = Tensor::zeros({1, 1, queries, keys}, DType::boolean);
    for (std::int64_t i = 0; i < queries; ++i)
        std::fill_n(lower.data<std::uint8_t>() + i * keys, std::min(i + 1, keys), std::uint8_t{1});
    return (mask & Mask::visible(lower)).tensor();
}

Tensor softmax_weights(const Tensor& scores, const AttentionOptions& options) {
    const std::int64_t queries = scores.size(2), keys = scores.size(3);
    const Tensor all = options.alibi ? scores + alibi_bias(queries, keys, options, scores.dtype()) : scores;
    const Tensor visible = visible_keys(options.mask, queries, keys);
    return visible.defined() ? masked_softmax(all, visible) : softmax(all);
}

Tensor weights_without_scores(const Tensor& q, const Tensor& k, const AttentionOptions& options) {
    const Tensor qh = split_heads(q, options.num_heads), kh = split_heads(k, options.num_heads);
    const Tensor visible = visible_keys(options.mask, q.size(1), k.size(1));
    if (options.kind == AttentionKind::linear) return linear_weights(qh, kh, visible);
    // Scores of 0 make uniform weights, and leave q and k a gradient of 0.
    const Tensor zero = scale(matmul(qh, kh, false, true), 0);
    return visible.defined() ? masked_softmax(zero, visible) : softmax(zero);
}

Tensor apply_weights(const Tensor& weights, const Tensor& v, const AttentionOptions& options) {
    const Tensor used = options.dropout > 0 ? dropout(weights, options.dropout, *options.random) : weights;
    return join_heads(matmul(used, split_heads(v, options.num_heads)));
}

AttentionResult attention_unfused(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
    plan_attention(q, k, v, options);  // the checks
    const Tensor weights = options.kind == AttentionKind::softmax
                               ? softmax_weights(attention_scores(q, k, options.num_heads), options)
                               : weights_without_scores(q, k, options);
    return {apply_weights(weights, v, options), options.need_weights ? weights : Tensor{}};
}

}  // namespace headscope
