#include "autograd/ops/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "autograd/graph.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/reduction.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using test::difference;
using test::random_tensor;
using test::same_bits;
using test::Threads;

struct Sizes {
    std::int64_t batch, heads, queries, keys, key_dim, value_dim;
};

/// Random booleans, three of four true; every `blind`-th row (if any) is all false.
Tensor random_visible(const Shape& shape, std::int64_t blind, std::uint64_t seed) {
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
Mask some_padding(const Sizes& s) {
    Tensor valid = Tensor::zeros({s.batch, s.keys}, DType::boolean);
    for (std::int64_t b = 0; b < s.batch; ++b)
        std::fill_n(valid.data<std::uint8_t>() + b * s.keys, b % 2 == 0 ? s.keys - 1 : 0, std::uint8_t{1});
    return Mask::padding(valid);
}

struct NamedMask {
    std::string name;
    Mask mask;
};

std::vector<NamedMask> masks_for(const Sizes& s) {
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

struct Inputs {
    Tensor q, k, v, d_output, d_weights;
};

Inputs random_inputs(const Sizes& s, DType dtype) {
    return {random_tensor({s.batch, s.queries, s.heads * s.key_dim}, 1, dtype),
            random_tensor({s.batch, s.keys, s.heads * s.key_dim}, 2, dtype),
            random_tensor({s.batch, s.keys, s.heads * s.value_dim}, 3, dtype),
            random_tensor({s.batch, s.queries, s.heads * s.value_dim}, 4, dtype),
            random_tensor({s.batch, s.heads, s.queries, s.keys}, 5, dtype)};
}

enum class Through { output, weights, both };
using Attention = AttentionResult (*)(const Tensor&, const Tensor&, const Tensor&, const AttentionOptions&);

/// Output, weights (where asked for), dq, dk, dv.
std::vector<Tensor> run(Attention function, const Inputs& inputs, const AttentionOptions& options, Through through) {
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

void expect_fused_as_unfused(const Sizes& s, AttentionOptions options, DType dtype) {
    const double tolerance = dtype == DType::f64 ? 1e-12 : 5e-6;
    options.num_heads = s.heads;
    options.need_weights = true;
    const Inputs inputs = random_inputs(s, dtype);
    for (const Through through : {Through::output, Through::weights, Through::both}) {
        const std::vector<Tensor> fused = run(attention, inputs, options, through);
        const std::vector<Tensor> unfused = run(attention_unfused, inputs, options, through);
        for (std::size_t i = 0; i < 5; ++i)
            EXPECT_LT(difference(fused[i], unfused[i]), tolerance)
                << "result " << i << ", " << name_of(dtype) << ", through " << static_cast<int>(through);
    }
}

const std::vector<Sizes> all_sizes{{2, 3, 5, 7, 4, 6},   {3, 2, 1, 67, 5, 3},  {2, 1, 63, 64, 8, 8},
                                   {1, 2, 64, 1, 3, 5},  {2, 2, 65, 65, 7, 2}, {2, 3, 130, 33, 13, 1},
                                   {1, 1, 67, 131, 1, 9}};

TEST(Attention, FusedIsUnfused) {
    const Threads one(1);  // many small cases; the number of threads has a test of its own
    for (const Sizes& s : all_sizes)
        for (const NamedMask& mask : masks_for(s)) {
            SCOPED_TRACE(mask.name + ", " + std::to_string(s.queries) + " queries, " + std::to_string(s.keys) +
                         " keys");
            for (const DType dtype : {DType::f64, DType::f32}) expect_fused_as_unfused(s, {.mask = mask.mask}, dtype);
        }
}

TEST(Attention, FusedIsUnfusedWithDropout) {
    const Threads one(1);
    const RandomStream random(7, "attention", 3);
    for (const Sizes& s : all_sizes)
        for (const NamedMask& mask : masks_for(s)) {
            SCOPED_TRACE(mask.name + ", " + std::to_string(s.queries) + " queries, " + std::to_string(s.keys) +
                         " keys");
            expect_fused_as_unfused(s, {.mask = mask.mask, .dropout = 0.3, .random = &random}, DType::f64);
        }
}

TEST(Attention, IsItsDefinition) {
    const Sizes s{2, 3, 66, 9, 4, 6};
    const Inputs in = random_inputs(s, DType::f64);
    const Tensor visible = random_visible({2, 3, 66, 9}, 0, 1);
    const AttentionResult result = attention(
        in.q, in.k, in.v, {.num_heads = 3, .mask = Mask::causal() & Mask::visible(visible), .need_weights = true});
    for (std::int64_t b = 0; b < s.batch; ++b)
        for (std::int64_t h = 0; h < s.heads; ++h)
            for (std::int64_t i = 0; i < s.queries; ++i) {
                std::vector<double> weights(static_cast<std::size_t>(s.keys));
                double total = 0;
                for (std::int64_t j = 0; j < s.keys; ++j) {
                    double score = 0;
                    for (std::int64_t c = 0; c < s.key_dim; ++c)
                        score += in.q.at({b, i, h * s.key_dim + c}) * in.k.at({b, j, h * s.key_dim + c});
                    const bool seen = j <= i && visible.at({b, h, i, j}) != 0;
                    const double weight = seen ? std::exp(score / 2) : 0;  // the root of key_dim is 2
                    weights[static_cast<std::size_t>(j)] = weight;
                    total += weight;
                }
                for (double& weight : weights) weight = total > 0 ? weight / total : 0;
                for (std::int64_t j = 0; j < s.keys; ++j)
                    ASSERT_NEAR(result.weights.at({b, h, i, j}), weights[static_cast<std::size_t>(j)], 1e-14);
                for (std::int64_t c = 0; c < s.value_dim; ++c) {
                    double expected = 0;
                    for (std::int64_t j = 0; j < s.keys; ++j)
                        expected += weights[static_cast<std::size_t>(j)] * in.v.at({b, j, h * s.value_dim + c});
                    ASSERT_NEAR(result.output.at({b, i, h * s.value_dim + c}), expected, 1e-13);
                }
            }
}

TEST(Attention, BlindQueriesGiveZeros) {
    const Sizes s{2, 3, 67, 11, 4, 6};
    const Inputs inputs = random_inputs(s, DType::f32);
    const Mask mask = Mask::visible(random_visible({1, 1, 67, 11}, 3, 5));  // queries 0, 3, 6 ... see nothing
    for (const Attention function : {attention, attention_unfused}) {
        const std::vector<Tensor> all =
            run(function, inputs, {.num_heads = 3, .mask = mask, .need_weights = true}, Through::both);
        for (std::int64_t i = 0; i < s.queries; ++i) {
            double output = 0, weights = 0, dq = 0;  // sums of magnitudes; NaN stays NaN
            for (std::int64_t c = 0; c < 18; ++c) output += std::fabs(all[0].at({1, i, c}));
            for (std::int64_t j = 0; j < 11; ++j) weights += std::fabs(all[1].at({1, 2, i, j}));
            for (std::int64_t c = 0; c < 12; ++c) dq += std::fabs(all[2].at({1, i, c}));
            EXPECT_EQ(output == 0, i % 3 == 0) << i;
            EXPECT_EQ(weights == 0, i % 3 == 0) << i;
            EXPECT_EQ(dq == 0, i % 3 == 0) << i;
        }
        for (const Tensor& tensor : all) EXPECT_EQ(difference(tensor, tensor), 0) << "something is not finite";
    }
    const Mask nothing = Mask::visible(Tensor::zeros({1, 1, 67, 11}, DType::boolean));
    const std::vector<Tensor> all =
        run(attention, inputs, {.num_heads = 3, .mask = nothing, .need_weights = true}, Through::both);
    for (const Tensor& tensor : all) EXPECT_EQ(difference(tensor, Tensor::zeros(tensor.shape())), 0);
}

TEST(Attention, NaNIsNotHidden) {
    const Sizes s{2, 3, 66, 7, 4, 6};
    for (const bool causal : {false, true}) {
        const Inputs inputs = random_inputs(s, DType::f32);
        Tensor q = inputs.q;
        q.data<float>()[(1 * 66 + 65) * 12 + 4] = std::numeric_limits<float>::quiet_NaN();  // head 1 of query 65
        const AttentionResult result =
            attention(q, inputs.k, inputs.v,
                      {.num_heads = 3, .mask = causal ? Mask::causal() : Mask::none(), .need_weights = true});
        for (std::int64_t b = 0; b < 2; ++b)
            for (std::int64_t i = 0; i < 66; ++i)
                for (std::int64_t c = 0; c < 18; ++c)
                    ASSERT_EQ(std::isnan(result.output.at({b, i, c})), b == 1 && i == 65 && c / 6 == 1)
                        << b << ", " << i << ", " << c;
        EXPECT_TRUE(std::isnan(result.weights.at({1, 1, 65, 3})));
    }
}

/// Copies the block of head 0 along `axis` to the other heads.
void clone_head_zero(Tensor& tensor, std::int64_t outer, std::int64_t heads, std::int64_t block) {
    const std::size_t bytes = static_cast<std::size_t>(block) * size_of(tensor.dtype());
    for (std::int64_t i = 0; i < outer; ++i) {
        std::byte* first = tensor.bytes() + static_cast<std::size_t>(i * heads) * bytes;
        for (std::int64_t h = 1; h < heads; ++h) std::copy_n(first, bytes, first + static_cast<std::size_t>(h) * bytes);
    }
}

TEST(Attention, ClonedHeadsStayClones) {
    for (const Sizes& s : {Sizes{2, 3, 37, 37, 13, 13}, Sizes{2, 3, 67, 67, 13, 13}, Sizes{2, 5, 66, 29, 7, 11}})
        for (const DType dtype : {DType::f32, DType::f64})
            for (const Mask& mask : {Mask::none(), Mask::causal(), Mask::causal() & some_padding(s)}) {
                Inputs inputs = random_inputs(s, dtype);
                clone_head_zero(inputs.q, s.batch * s.queries, s.heads, s.key_dim);
                clone_head_zero(inputs.k, s.batch * s.keys, s.heads, s.key_dim);
                clone_head_zero(inputs.v, s.batch * s.keys, s.heads, s.value_dim);
                clone_head_zero(inputs.d_output, s.batch * s.queries, s.heads, s.value_dim);
                clone_head_zero(inputs.d_weights, s.batch, s.heads, s.queries * s.keys);
                const std::vector<Tensor> all =
                    run(attention, inputs, {.num_heads = s.heads, .mask = mask, .need_weights = true}, Through::both);
                const std::int64_t blocks[] = {s.value_dim, s.queries * s.keys, s.key_dim, s.key_dim, s.value_dim};
                for (std::size_t i = 0; i < 5; ++i) {
                    Tensor cloned = all[i].clone();
                    clone_head_zero(cloned, cloned.numel() / (s.heads * blocks[i]), s.heads, blocks[i]);
                    EXPECT_TRUE(same_bits(cloned, all[i])) << "result " << i << ", " << s.queries << " queries";
                    EXPECT_GT(difference(all[i], Tensor::zeros(all[i].shape(), dtype)), 0);
                }
            }
}

TEST(Attention, SameBitsForAnyNumberOfThreads) {
    const Sizes s{3, 5, 70, 67, 13, 9};
    const RandomStream random(7, "attention");
    const Inputs inputs = random_inputs(s, DType::f32);
    for (const NamedMask& mask : masks_for(s))
        for (const Attention function : {attention, attention_unfused}) {
            const AttentionOptions options{
                .num_heads = 5, .mask = mask.mask, .dropout = 0.2, .random = &random, .need_weights = true};
            std::vector<Tensor> expected;
            for (const int count : {1, 2, 3, 5}) {
                const Threads threads(count);
                const std::vector<Tensor> all = run(function, inputs, options, Through::both);
                if (count == 1) expected = all;
                for (std::size_t i = 0; i < 5; ++i)
                    EXPECT_TRUE(same_bits(all[i], expected[i])) << mask.name << ", result " << i;
            }
        }
}

TEST(Attention, AskingForWeightsChangesNothing) {
    const Sizes s{2, 3, 66, 35, 13, 9};
    const RandomStream random(7, "attention");
    const Inputs inputs = random_inputs(s, DType::f32);
    for (const NamedMask& mask : masks_for(s))
        for (const double dropout : {0.0, 0.2}) {
            AttentionOptions options{.num_heads = 3, .mask = mask.mask, .dropout = dropout, .random = &random};
            const std::vector<Tensor> without = run(attention, inputs, options, Through::output);
            ASSERT_EQ(without.size(), 4U) << "weights were not asked for";
            options.need_weights = true;
            std::vector<Tensor> with = run(attention, inputs, options, Through::output);
            with.erase(with.begin() + 1);
            for (std::size_t i = 0; i < 4; ++i) EXPECT_TRUE(same_bits(with[i], without[i])) << mask.name << ", " << i;
        }
}

TEST(Attention, WeightsAreThoseBeforeDropout) {
    const Sizes s{2, 3, 5, 7, 4, 6};
    const RandomStream random(7, "attention");
    const Inputs in = random_inputs(s, DType::f32);
    const AttentionOptions plain{.num_heads = 3, .need_weights = true};
    const AttentionOptions dropped{.num_heads = 3, .dropout = 0.5, .random = &random, .need_weights = true};
    const AttentionResult a = attention(in.q, in.k, in.v, plain);
    const AttentionResult b = attention(in.q, in.k, in.v, dropped);
    EXPECT_TRUE(same_bits(a.weights, b.weights));
    EXPECT_FALSE(same_bits(a.output, b.output));
}

TEST(Attention, OnlyWhatIsWantedGetsAGradient) {
    const Sizes s{2, 3, 5, 7, 4, 6};
    const Inputs in = random_inputs(s, DType::f32);
    const std::vector<Tensor> all = run(attention, in, {.num_heads = 3}, Through::output);
    Tensor k = in.k.detach();
    k.set_requires_grad();
    backward(attention(in.q, k, in.v, {.num_heads = 3}).output, {.gradient = in.d_output});
    EXPECT_TRUE(same_bits(k.grad(), all[2]));
    EXPECT_FALSE(in.q.grad().defined());
}

TEST(Attention, NoKeysAtAll) {
    const Sizes s{2, 3, 5, 0, 4, 6};
    const std::vector<Tensor> all = run(attention, random_inputs(s, DType::f32), {.num_heads = 3}, Through::output);
    EXPECT_TRUE(same_bits(all[0], Tensor::zeros({2, 5, 18})));
    EXPECT_TRUE(same_bits(all[1], Tensor::zeros({2, 5, 12})));
}

}  // namespace
}  // namespace headscope
