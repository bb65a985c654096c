// What the tests of attention share: sizes, masks, the settings that change how weights come about.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "autograd/graph.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/attention.h"
#include "autograd/ops/reduction.h"
#include "tests/autograd/helpers.h"

namespace headscope::test {

struct Sizes {
    std::int64_t batch, heads, queries, keys, key_dim, value_dim;
};

/// Random booleans, three of four true; every `blind`-th row (if any) is all false.
inline Tensor random_visible(const Shape& shape, std::int64_t blind, std::uint64_t seed) {
    Tensor result = Tensor::empty(shape, DType::boolean);
    const RandomStream random(seed, "visible");
    for (std::int64_t i = 0; i < shape.numel(); ++i) {
        const bool seen = random.uniform(static_cast<std::uint64_t>(i)) < 0.75;
        const bool dark = blind > 0 && i / shape.size(-1) % blind == 0;
        result.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(seen && !dark);
    }
    return result;
}

/// The first sequence has one valid key fewer than there are, the second none, and so on.
inline Mask some_padding(const Sizes& s) {
    Tensor valid = Tensor::zeros({s.batch, s.keys}, DType::boolean);
    for (std::int64_t b = 0; b < s.batch; ++b)
        std::fill_n(valid.data<std::uint8_t>() + b * s.keys, b % 2 == 0 ? s.keys - 1 : 0, std::uint8_t{1});
    return Mask::padding(valid);
}

struct NamedMask {
    std::string name;
    Mask mask;
};

inline std::vector<NamedMask> masks_for(const Sizes& s) {
    const auto visible = [&](std::int64_t batch, std::int64_t heads, std::int64_t queries) {
        return Mask::visible(random_visible({batch, heads, queries, s.keys}, 3, 5));
    };
    return {{"none", Mask::none()},
            {"causal", Mask::causal()},
            {"padding", some_padding(s)},
            {"visible", visible(s.batch, s.heads, s.queries)},
            {"visible for all heads", visible(s.batch, 1, s.queries)},
            {"visible for all sequences", visible(1, s.heads, s.queries)},
            {"visible for all", visible(1, 1, s.queries)},
            {"causal and padding", Mask::causal() & some_padding(s)},
            {"visible and causal", visible(1, s.heads, s.queries) & Mask::causal()},
            {"visible and padding", visible(1, s.heads, s.queries) & some_padding(s)}};
}

/// The settings that change how weights come about.
struct Variant {
    std::string name;
    AttentionKind kind;
    bool alibi;
};

inline const std::vector<Variant> variants{{"softmax", AttentionKind::softmax, false},
                                           {"alibi", AttentionKind::softmax, true},
                                           {"linear", AttentionKind::linear, false},
                                           {"uniform", AttentionKind::uniform, false}};

struct Inputs {
    Tensor q, k, v, d_output, d_weights;
};

inline Inputs random_inputs(const Sizes& s, DType dtype) {
    return {random_tensor({s.batch, s.queries, s.heads * s.key_dim}, 1, dtype),
            random_tensor({s.batch, s.keys, s.heads * s.key_dim}, 2, dtype),
            random_tensor({s.batch, s.keys, s.heads * s.value_dim}, 3, dtype),
            random_tensor({s.batch, s.queries, s.heads * s.value_dim}, 4, dtype),
            random_tensor({s.batch, s.heads, s.queries, s.keys}, 5, dtype)};
}

enum class Through { output, weights, both };
using Attention = AttentionResult (*)(const Tensor&, const Tensor&, const Tensor&, const AttentionOptions&);

/// Output, weights (where asked for), dq, dk, dv.
inline std::vector<Tensor> run(Attention function, const Inputs& inputs, const AttentionOptions& options,
                               Through through) {
    std::vector<Tensor> leaves{inputs.q.detach(), inputs.k.detach(), inputs.v.detach()};
    for (Tensor& leaf : leaves) leaf.set_requires_grad();
    const AttentionResult result = function(leaves[0], leaves[1], leaves[2], options);
    Tensor loss;
    if (through != Through::weights) loss = sum(mul(result.output, inputs.d_output));
    if (through != Through::output) {
        const Tensor part = sum(mul(result.weights, inputs.d_weights));
        loss = loss.defined() ? add(loss, part) : part;
    }
    backward(loss);
    std::vector<Tensor> all{result.output};
    if (result.weights.defined()) all.push_back(result.weights);
    for (const Tensor& leaf : leaves)  // the unfused weights do not depend on v at all
        all.push_back(leaf.grad().defined() ? leaf.grad() : Tensor::zeros(leaf.shape(), leaf.dtype()));
    return all;
}

/// Tests of this kind run once for every variant.
class AttentionVariant : public testing::TestWithParam<Variant> {};

}  // namespace headscope::test
