// Attention under random masks against plain loops: who may see whom, with every mask and axis to broadcast. RapidCheck
// draws the cases; see properties_test.cpp.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <cstdlib>
#include <vector>

#include "autograd/graph.h"
#include "autograd/ops.h"
#include "tests/autograd/properties.h"

namespace headscope {
namespace {

const int parameters_set = setenv("RC_PARAMS", "seed=1 max_success=1000", 0);

using namespace properties;  // NOLINT(google-build-using-namespace): the vocabulary of this file

/// Any of the three masks, each as likely to be there as not.
struct Masks {
    bool causal = *rc::gen::arbitrary<bool>();
    Tensor valid, visible;  ///< [B, Tk] and [B|1, H|1, Tq|1, Tk], or undefined

    explicit Masks(const Index& sizes) {  // [B, H, Tq, Tk]
        if (*rc::gen::arbitrary<bool>()) valid = draw_mask({sizes[0], sizes[3]});
        if (!*rc::gen::arbitrary<bool>()) return;
        Index stretched = sizes;
        for (std::size_t axis = 0; axis < 3; ++axis)
            if (*rc::gen::arbitrary<bool>()) stretched[axis] = 1;
        visible = draw_mask(stretched);
    }

    Mask combined() const {
        Mask mask = causal ? Mask::causal() : Mask::none();
        if (valid.defined()) mask = mask & Mask::padding(valid);
        if (visible.defined()) mask = Mask::visible(visible) & mask;
        return mask;
    }

    bool see(const Index& index) const {  // b, h, i, j
        if (causal && index[3] > index[2]) return false;
        if (valid.defined() && element(valid, source_of({index[0], index[3]}, valid)) == 0) return false;
        return !visible.defined() || element(visible, source_of(index, visible)) != 0;
    }
};

RC_GTEST_PROP(AttentionProperties, WeightsAreASoftmaxOverWhatMayBeSeen, ()) {
    const Index sizes = *rc::gen::container<Index>(4, in_range<std::int64_t>(1, 6));  // B, H, Tq, Tk
    const std::int64_t batch = sizes[0], heads = sizes[1], queries = sizes[2], keys = sizes[3];
    const std::int64_t key_dim = *in_range<std::int64_t>(1, 4), value_dim = *in_range<std::int64_t>(1, 4);
    Tensor q = draw_values({batch, queries, heads * key_dim}).set_requires_grad();
    Tensor k = draw_values({batch, keys, heads * key_dim}).set_requires_grad();
    Tensor v = draw_values({batch, keys, heads * value_dim}).set_requires_grad();
    const Masks masks(sizes);
    const bool fused = *rc::gen::arbitrary<bool>();
    RC_LOG() << (fused ? "fused, " : "unfused, ") << q.shape().str() << " and " << k.shape().str() << '\n';
    const AttentionResult result = (fused ? attention : attention_unfused)(
        q, k, v, {.num_heads = heads, .mask = masks.combined(), .need_weights = true});
    const Tensor g = draw_values({batch, queries, heads * value_dim});
    backward(result.output, {.gradient = g});

    // Every sum is written out: P = e^S / sum e^S, O = P v, dS = P (dP - sum P dP).
    std::vector<double> weights = zeros_like(result.weights), output = zeros_like(result.output);
    std::vector<double> dq = zeros_like(q), dk = zeros_like(k), dv = zeros_like(v);
    const double factor = 1 / std::sqrt(static_cast<double>(key_dim));
    for (std::int64_t row = 0; row < batch * heads * queries; ++row) {
        const Index index = index_of(row, {batch, heads, queries});
        const std::int64_t b = index[0], h = index[1], i = index[2];
        // Where column 0 of head h begins in the row of query i and of key j.
        const auto q_row = (b * queries + i) * heads * key_dim + h * key_dim;
        const auto o_row = (b * queries + i) * heads * value_dim + h * value_dim;
        const auto k_row = [&](std::int64_t j) { return (b * keys + j) * heads * key_dim + h * key_dim; };
        const auto v_row = [&](std::int64_t j) { return (b * keys + j) * heads * value_dim + h * value_dim; };
        double* const p = weights.data() + row * keys;
        double total = 0;
        for (std::int64_t j = 0; j < keys; ++j) {
            if (!masks.see({b, h, i, j})) continue;
            double score = 0;
            for (std::int64_t c = 0; c < key_dim; ++c) score += element(q, q_row + c) * element(k, k_row(j) + c);
            total += p[j] = std::exp(score * factor);
        }
        if (total == 0) continue;  // nothing to see: zeros everywhere
        std::vector<double> dp(static_cast<std::size_t>(keys));
        double mean = 0;
        for (std::int64_t j = 0; j < keys; ++j) {
            p[j] /= total;
            double& slope = dp[static_cast<std::size_t>(j)];
            for (std::int64_t c = 0; c < value_dim; ++c) {
                output[static_cast<std::size_t>(o_row + c)] += p[j] * element(v, v_row(j) + c);
                dv[static_cast<std::size_t>(v_row(j) + c)] += p[j] * element(g, o_row + c);
                slope += element(g, o_row + c) * element(v, v_row(j) + c);
            }
            mean += p[j] * slope;
        }
        for (std::int64_t j = 0; j < keys; ++j) {
            const double ds = p[j] * (dp[static_cast<std::size_t>(j)] - mean) * factor;
            for (std::int64_t c = 0; c < key_dim; ++c) {
                dq[static_cast<std::size_t>(q_row + c)] += ds * element(k, k_row(j) + c);
                dk[static_cast<std::size_t>(k_row(j) + c)] += ds * element(q, q_row + c);
            }
        }
    }
    check_equal(result.weights, weights, 1e-12);
    for (std::size_t i = 0; i < weights.size(); ++i)  // what is hidden has no weight at all
        if (!masks.see(index_of(static_cast<std::int64_t>(i), sizes)))
            RC_ASSERT(element(result.weights, static_cast<std::int64_t>(i)) == 0);
    check_equal(result.output, output, 1e-11);
    check_equal(q.grad(), dq, 1e-9);
    check_equal(k.grad(), dk, 1e-9);
    check_equal(v.grad(), dv, 1e-9);
}

}  // namespace
}  // namespace headscope
