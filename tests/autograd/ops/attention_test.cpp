#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "autograd/allocator.h"
#include "tests/autograd/ops/attention_fixtures.h"

namespace headscope {
namespace {

using namespace test;

INSTANTIATE_TEST_SUITE_P(Variants, AttentionVariant, testing::ValuesIn(variants),
                         [](const auto& info) { return info.param.name; });

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
        for (const NamedMask& mask : masks_for(s))
            for (const Variant& variant : variants) {
                SCOPED_TRACE(variant.name + ", " + mask.name + ", " + std::to_string(s.queries) + " queries, " +
                             std::to_string(s.keys) + " keys");
                for (const DType dtype : {DType::f64, DType::f32})
                    expect_fused_as_unfused(s, {.mask = mask.mask, .kind = variant.kind, .alibi = variant.alibi},
                                            dtype);
            }
}

TEST(Attention, FusedIsUnfusedWithDropout) {
    const Threads one(1);
    const RandomStream random(7, "attention", 3);
    for (const Sizes& s : all_sizes)
        for (const NamedMask& mask : masks_for(s))
            for (const Variant& variant : variants) {
                SCOPED_TRACE(variant.name + ", " + mask.name + ", " + std::to_string(s.queries) + " queries, " +
                             std::to_string(s.keys) + " keys");
                expect_fused_as_unfused(s,
                                        {.mask = mask.mask,
                                         .dropout = 0.3,
                                         .random = &random,
                                         .kind = variant.kind,
                                         .alibi = variant.alibi},
                                        DType::f64);
            }
}

/// The weight of key j for query i before it is divided by the sum over the visible keys.
double unnormalised(const Inputs& in, const Sizes& s, const Variant& variant, std::int64_t b, std::int64_t h,
                    std::int64_t i, std::int64_t j) {
    const auto feature = [](double x) { return (x > 0 ? x : std::expm1(x)) + 1; };  // elu + 1
    double score = 0, features = 0;
    for (std::int64_t c = h * s.key_dim; c < (h + 1) * s.key_dim; ++c) {
        const double q = in.q.at({b, i, c}), k = in.k.at({b, j, c});
        score += q * k;
        features += feature(q) * feature(k);
    }
    if (variant.kind == AttentionKind::linear) return features;
    if (variant.kind == AttentionKind::uniform) return 1;
    score /= std::sqrt(static_cast<double>(s.key_dim));
    if (variant.alibi)
        score -= std::pow(2.0, -8.0 * static_cast<double>(h + 1) / static_cast<double>(s.heads)) *
                 static_cast<double>(std::abs(i - j));
    return std::exp(score);
}

TEST_P(AttentionVariant, IsItsDefinition) {
    const Sizes s{2, 3, 66, 9, 4, 6};
    const Inputs in = random_inputs(s, DType::f64);
    const Tensor visible = random_visible({2, 3, 66, 9}, 0, 1);
    const AttentionResult result = attention(in.q, in.k, in.v,
                                             {.num_heads = 3,
                                              .mask = Mask::causal() & Mask::visible(visible),
                                              .need_weights = true,
                                              .kind = GetParam().kind,
                                              .alibi = GetParam().alibi});
    for (std::int64_t b = 0; b < s.batch; ++b)
        for (std::int64_t h = 0; h < s.heads; ++h)
            for (std::int64_t i = 0; i < s.queries; ++i) {
                std::vector<double> weights(static_cast<std::size_t>(s.keys));
                double total = 0;
                for (std::int64_t j = 0; j < s.keys; ++j) {
                    const bool seen = j <= i && visible.at({b, h, i, j}) != 0;
                    const double weight = seen ? unnormalised(in, s, GetParam(), b, h, i, j) : 0;
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

TEST_P(AttentionVariant, BlindQueriesGiveZeros) {
    const Sizes s{2, 3, 67, 11, 4, 6};
    const Inputs inputs = random_inputs(s, DType::f32);
    const Mask mask = Mask::visible(random_visible({1, 1, 67, 11}, 3, 5));  // queries 0, 3, 6 ... see nothing
    for (const Attention function : {attention, attention_unfused}) {
        const AttentionOptions options{
            .num_heads = 3, .mask = mask, .need_weights = true, .kind = GetParam().kind, .alibi = GetParam().alibi};
        const std::vector<Tensor> all = run(function, inputs, options, Through::both);
        const bool uniform = GetParam().kind == AttentionKind::uniform;  // no query has a gradient
        for (std::int64_t i = 0; i < s.queries; ++i) {
            double output = 0, weights = 0, dq = 0;  // sums of magnitudes; NaN stays NaN
            for (std::int64_t c = 0; c < 18; ++c) output += std::fabs(all[0].at({1, i, c}));
            for (std::int64_t j = 0; j < 11; ++j) weights += std::fabs(all[1].at({1, 2, i, j}));
            for (std::int64_t c = 0; c < 12; ++c) dq += std::fabs(all[2].at({1, i, c}));
            EXPECT_EQ(output == 0, i % 3 == 0) << i;
            EXPECT_EQ(weights == 0, i % 3 == 0) << i;
            EXPECT_EQ(dq == 0, uniform || i % 3 == 0) << i;
        }
        for (const Tensor& tensor : all) EXPECT_EQ(difference(tensor, tensor), 0) << "something is not finite";
    }
    const Mask nothing = Mask::visible(Tensor::zeros({1, 1, 67, 11}, DType::boolean));
    const AttentionOptions options{
        .num_heads = 3, .mask = nothing, .need_weights = true, .kind = GetParam().kind, .alibi = GetParam().alibi};
    const std::vector<Tensor> all = run(attention, inputs, options, Through::both);
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

TEST(Attention, UniformWeightsIgnoreQueriesAndKeys) {
    const Sizes s{2, 3, 66, 35, 13, 9};
    const Inputs in = random_inputs(s, DType::f32);
    for (const Attention function : {attention, attention_unfused}) {
        Tensor q = in.q.detach(), k = in.k.detach();
        q.set_requires_grad();
        k.set_requires_grad();
        const AttentionOptions options{
            .num_heads = 3, .mask = Mask::causal(), .need_weights = true, .kind = AttentionKind::uniform};
        const AttentionResult result = function(q, k, in.v, options);
        backward(sum(mul(result.output, in.d_output)) + sum(mul(result.weights, in.d_weights)));
        ASSERT_TRUE(q.grad().defined() && k.grad().defined());  // zero, but there
        EXPECT_EQ(difference(q.grad(), Tensor::zeros(q.shape())), 0);
        EXPECT_EQ(difference(k.grad(), Tensor::zeros(k.shape())), 0);
        EXPECT_FLOAT_EQ(static_cast<float>(result.weights.at({1, 2, 3, 0})), 0.25F);
        EXPECT_EQ(result.weights.at({1, 2, 3, 4}), 0);
    }
}

// Some heads of a larger number keep the slopes that they have among all.
TEST(Attention, AlibiOfSomeHeads) {
    const Sizes s{2, 3, 5, 7, 4, 6};
    const Inputs in = random_inputs(s, DType::f64);
    const auto columns = [](const Tensor& x, std::int64_t width) {  // of head 1
        Tensor part = Tensor::empty({x.size(0), x.size(1), width}, x.dtype());
        for (std::int64_t row = 0; row < x.size(0) * x.size(1); ++row)
            std::copy_n(x.data<double>() + row * x.size(2) + width, width, part.data<double>() + row * width);
        return part;
    };
    const Tensor whole = attention(in.q, in.k, in.v, {.num_heads = 3, .alibi = true}).output;
    for (const Attention function : {attention, attention_unfused}) {
        const AttentionOptions options{.num_heads = 1, .alibi = true, .alibi_first = 1, .alibi_heads = 3};
        const Tensor one = function(columns(in.q, 4), columns(in.k, 4), columns(in.v, 6), options).output;
        EXPECT_LT(difference(one, columns(whole, 6)), 1e-14);
    }
}

// Where e^x is 0 in single precision there is nothing to divide by; zeros, not NaN.
TEST(Attention, VanishingFeatures) {
    const Tensor q = Tensor::full({1, 2, 3}, -200), k = Tensor::full({1, 4, 3}, -200), v = random_tensor({1, 4, 2}, 1);
    Tensor leaf = q.detach();
    leaf.set_requires_grad();
    const Tensor output = attention(leaf, k, v, {.kind = AttentionKind::linear}).output;
    EXPECT_EQ(difference(output, Tensor::zeros({1, 2, 2})), 0);
    backward(sum(output));
    EXPECT_EQ(difference(leaf.grad(), Tensor::zeros({1, 2, 3})), 0);
}

TEST(Attention, NoKeysAtAll) {
    const Sizes s{2, 3, 5, 0, 4, 6};
    const std::vector<Tensor> all = run(attention, random_inputs(s, DType::f32), {.num_heads = 3}, Through::output);
    EXPECT_TRUE(same_bits(all[0], Tensor::zeros({2, 5, 18})));
    EXPECT_TRUE(same_bits(all[1], Tensor::zeros({2, 5, 12})));
}

// Of 8 heads and 1024 positions the weights alone would be 32 MiB; q, k, v, the output and their gradients are 8.
TEST(Attention, LongSequencesStoreNoWeightsUnlessAsked) {
    const auto peak = [](bool need_weights) {
        const Tensor q = random_leaf({1, 1024, 256}, 1), k = random_leaf({1, 1024, 256}, 2);
        const Tensor v = random_leaf({1, 1024, 256}, 3), g = random_tensor({1, 1024, 256}, 4);
        const std::size_t before = allocator::stats().in_use;
        allocator::reset_peak();
        const AttentionOptions options{.num_heads = 8, .mask = Mask::causal(), .need_weights = need_weights};
        backward(attention(q, k, v, options).output, {.gradient = g});
        return allocator::stats().peak - before;
    };
    EXPECT_LT(peak(false), std::size_t{9} << 20);
    EXPECT_GT(peak(true), std::size_t{32} << 20);
}

}  // namespace
}  // namespace headscope
