// Attention from plain ops: slow, plain to read, and what the fused kernel is held against.
#include <algorithm>
#include <cmath>

#include "autograd/ops/activation.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/attention_plan.h"
#include "autograd/ops/dropout.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/reduction.h"
#include "autograd/ops/shaping.h"
#include "autograd/ops/softmax.h"

namespace headscope {
namespace {

/// Boolean [B|1, H|1, Tq, Tk]: the mask and causality in one; undefined when every query sees every key.
Tensor visible_keys(const AttentionPlan& plan, Mask mask) {
    if (plan.causal) {
        Tensor lower = Tensor::zeros({1, 1, plan.queries, plan.keys}, DType::boolean);
        for (std::int64_t i = 0; i < plan.queries; ++i)
            std::fill_n(lower.data<std::uint8_t>() + i * plan.keys, plan.reach(i), std::uint8_t{1});
        mask = mask & Mask::visible(lower);
    }
    return mask.tensor();
}

/// -slope |i - j|: [1, H, Tq, Tk]
Tensor alibi_bias(const AttentionPlan& plan, DType dtype) {
    Tensor bias = Tensor::empty({1, plan.heads, plan.queries, plan.keys}, DType::f64);
    double* out = bias.data<double>();
    for (std::int64_t h = 0; h < plan.heads; ++h)
        for (std::int64_t i = 0; i < plan.queries; ++i)
            for (std::int64_t j = 0; j < plan.keys; ++j) *out++ = -plan.slope(h) * static_cast<double>(std::abs(i - j));
    return bias.to(dtype);
}

/// elu(x) + 1 = e^x below 0, x + 1 above
Tensor positive_features(const Tensor& x) {
    const Tensor above = relu(x);
    return above + exp(x - above);
}

/// phi(q) phi(k)^T, over its sum along the visible keys
Tensor linear_weights(const Tensor& q, const Tensor& k, const Tensor& visible) {
    Tensor scores = matmul(positive_features(q), positive_features(k), false, true);
    if (!visible.defined()) return scores / sum(scores, {-1}, true);
    scores = scores * visible.to(scores.dtype());
    const Tensor total = sum(scores, {-1}, true);
    Tensor blind = Tensor::zeros(total.shape(), total.dtype());  // 1 where nothing is seen: 0 / (0 + 1)
    for (std::int64_t i = 0; i < blind.numel(); ++i)
        dispatch_float(total.dtype(), "attention", [&](auto zero) {
            using T = decltype(zero);
            blind.data<T>()[i] = total.data<T>()[i] == 0 ? T{1} : T{0};
        });
    return scores / (total + blind);
}

}  // namespace

AttentionResult attention_unfused(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
    const AttentionPlan plan = plan_attention(q, k, v, options);
    // [B, T, H*d] -> [B, H, T, d]
    const auto split = [&](const Tensor& x, std::int64_t length, std::int64_t width) {
        return permute(reshape(x, {plan.batch, length, plan.heads, width}), {0, 2, 1, 3});
    };
    const Tensor qh = split(q, plan.queries, plan.key_dim);
    const Tensor kh = split(k, plan.keys, plan.key_dim);
    const Tensor vh = split(v, plan.keys, plan.value_dim);
    const Tensor visible = visible_keys(plan, options.mask);

    Tensor weights;  // [B, H, Tq, Tk]
    if (plan.kind == AttentionKind::linear) {
        weights = linear_weights(qh, kh, visible);
    } else {
        // Scores of 0 make uniform weights, and leave q and k a gradient of 0.
        const double factor = plan.kind == AttentionKind::uniform ? 0 : plan.factor();
        Tensor scores = scale(matmul(qh, kh, false, true), factor);
        if (plan.alibi) scores = scores + alibi_bias(plan, q.dtype());
        weights = visible.defined() ? masked_softmax(scores, visible) : softmax(scores);
    }
    const Tensor used = plan.dropout > 0 ? dropout(weights, plan.dropout, plan.random) : weights;
    const Tensor heads = matmul(used, vh);  // [B, H, Tq, d_v]
    const Tensor output =
        reshape(permute(heads, {0, 2, 1, 3}), {plan.batch, plan.queries, plan.heads * plan.value_dim});
    return {output, options.need_weights ? weights : Tensor{}};
}

}  // namespace headscope
