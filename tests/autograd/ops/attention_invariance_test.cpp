// What attention must leave unchanged: clones, bits, what nobody asked for.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/autograd/ops/attention_fixtures.h"

namespace headscope {
namespace {

using namespace test;

INSTANTIATE_TEST_SUITE_P(Variants, AttentionVariant, testing::ValuesIn(variants),
                         [](const auto& info) { return info.param.name; });

/// Copies the block of head 0 along `axis` to the other heads.
void clone_head_zero(Tensor& tensor, std::int64_t outer, std::int64_t heads, std::int64_t block) {
    const std::size_t bytes = static_cast<std::size_t>(block) * size_of(tensor.dtype());
    for (std::int64_t i = 0; i < outer; ++i) {
        std::byte* first = tensor.bytes() + static_cast<std::size_t>(i * heads) * bytes;
        for (std::int64_t h = 1; h < heads; ++h) std::copy_n(first, bytes, first + static_cast<std::size_t>(h) * bytes);
    }
}

TEST_P(AttentionVariant, ClonedHeadsStayClones) {
    const bool uniform = GetParam().kind == AttentionKind::uniform;
    for (const Sizes& s : {Sizes{2, 3, 37, 37, 13, 13}, Sizes{2, 3, 67, 67, 13, 13}, Sizes{2, 5, 66, 29, 7, 11}})
        for (const DType dtype : {DType::f32, DType::f64})
            for (const Mask& mask : {Mask::none(), Mask::causal(), Mask::causal() & some_padding(s)}) {
                Inputs inputs = random_inputs(s, dtype);
                clone_head_zero(inputs.q, s.batch * s.queries, s.heads, s.key_dim);
                clone_head_zero(inputs.k, s.batch * s.keys, s.heads, s.key_dim);
                clone_head_zero(inputs.v, s.batch * s.keys, s.heads, s.value_dim);
                clone_head_zero(inputs.d_output, s.batch * s.queries, s.heads, s.value_dim);
                clone_head_zero(inputs.d_weights, s.batch, s.heads, s.queries * s.keys);
                const AttentionOptions options{.num_heads = s.heads,
                                               .mask = mask,
                                               .need_weights = true,
                                               .kind = GetParam().kind,
                                               .alibi = GetParam().alibi};
                const std::vector<Tensor> all = run(attention, inputs, options, Through::both);
                const std::int64_t blocks[] = {s.value_dim, s.queries * s.keys, s.key_dim, s.key_dim, s.value_dim};
                for (std::size_t i = 0; i < 5; ++i) {
                    Tensor cloned = all[i].clone();
                    clone_head_zero(cloned, cloned.numel() / (s.heads * blocks[i]), s.heads, blocks[i]);
                    // Under alibi every head has a slope of its own.
                    EXPECT_EQ(same_bits(cloned, all[i]), !GetParam().alibi)
                        << "result " << i << ", " << s.queries << " queries";
                    const bool nothing = uniform && (i == 2 || i == 3);
                    EXPECT_EQ(difference(all[i], Tensor::zeros(all[i].shape(), dtype)) > 0, !nothing);
                }
            }
}

TEST_P(AttentionVariant, SameBitsForAnyNumberOfThreads) {
    const Sizes s{3, 5, 70, 67, 13, 9};
    const RandomStream random(7, "attention");
    const Inputs inputs = random_inputs(s, DType::f32);
    for (const NamedMask& mask : masks_for(s))
        for (const Attention function : {attention, attention_unfused}) {
            const AttentionOptions options{.num_heads = 5,
                                           .mask = mask.mask,
                                           .dropout = 0.2,
                                           .random = &random,
                                           .need_weights = true,
                                           .kind = GetParam().kind,
                                           .alibi = GetParam().alibi};
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

TEST_P(AttentionVariant, AskingForWeightsChangesNothing) {
    const Sizes s{2, 3, 66, 35, 13, 9};
    const RandomStream random(7, "attention");
    const Inputs inputs = random_inputs(s, DType::f32);
    for (const NamedMask& mask : masks_for(s))
        for (const double dropout : {0.0, 0.2}) {
            AttentionOptions options{.num_heads = 3,
                                     .mask = mask.mask,
                                     .dropout = dropout,
                                     .random = &random,
                                     .kind = GetParam().kind,
                                     .alibi = GetParam().alibi};
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

}  // namespace
}  // namespace headscope
