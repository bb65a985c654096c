// Attention where scores are very large and where the features of linear attention vanish.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "tests/autograd/ops/attention_fixtures.h"

namespace headscope {
namespace {

using namespace test;

/// Integers from -3 to 3 times `size`, a power of two: their products and sums are exact, in any order.
Tensor multiples(const Shape& shape, std::uint64_t seed, double size, DType dtype) {
    Tensor result = random_tensor(shape, seed, DType::f64);
    for (std::int64_t i = 0; i < result.numel(); ++i) {
        double& x = result.data<double>()[i];
        x = size * std::min(3.0, std::max(-3.0, std::round(1.5 * x)));
    }
    return result.to(dtype);
}

/// softmax(q k^T / sqrt(d_k)) over the keys that a causal mask leaves, and its gradients, by loops in long double.
struct Plain {
    std::vector<double> weights, dq;  // [B, H, Tq, Tk] and as q
};

Plain plain_attention(const Inputs& in, const Sizes& s, bool causal) {
    Plain plain{std::vector<double>(static_cast<std::size_t>(s.batch * s.heads * s.queries * s.keys)),
                std::vector<double>(static_cast<std::size_t>(in.q.numel()))};
    const long double factor = 1 / std::sqrt(static_cast<long double>(s.key_dim));
    const auto size = [](std::int64_t n) { return static_cast<std::size_t>(n); };
    for (std::int64_t b = 0; b < s.batch; ++b)
        for (std::int64_t h = 0; h < s.heads; ++h)
            for (std::int64_t i = 0; i < s.queries; ++i) {
                const std::int64_t reach = causal ? std::min(i + 1, s.keys) : s.keys;
                std::vector<long double> p(size(reach)), d(size(reach));
                long double most = -std::numeric_limits<long double>::infinity(), total = 0, mean = 0;
                for (std::int64_t j = 0; j < reach; ++j) {
                    for (std::int64_t c = h * s.key_dim; c < (h + 1) * s.key_dim; ++c)
                        p[size(j)] += static_cast<long double>(in.q.at({b, i, c})) * in.k.at({b, j, c});
                    for (std::int64_t c = h * s.value_dim; c < (h + 1) * s.value_dim; ++c)
                        d[size(j)] += static_cast<long double>(in.d_output.at({b, i, c})) * in.v.at({b, j, c});
                    most = std::max(most, p[size(j)]);
                }
                for (long double& x : p) total += x = std::exp((x - most) * factor);
                for (std::size_t j = 0; j < p.size(); ++j) mean += (p[j] /= total) * d[j];
                for (std::int64_t j = 0; j < reach; ++j) {
                    plain.weights[size(((b * s.heads + h) * s.queries + i) * s.keys + j)] =
                        static_cast<double>(p[size(j)]);
                    for (std::int64_t c = h * s.key_dim; c < (h + 1) * s.key_dim; ++c)
                        plain.dq[size((b * s.queries + i) * s.heads * s.key_dim + c)] += static_cast<double>(
                            p[size(j)] * (d[size(j)] - mean) * factor * static_cast<long double>(in.k.at({b, j, c})));
                }
            }
    return plain;
}

/// Rows with one weight of 1 must have it to the bit, and gradients of exactly 0.
void expect_plain(Attention function, const Sizes& s, bool causal, double size, DType dtype) {
    Inputs in = random_inputs(s, dtype);
    in.q = multiples(in.q.shape(), 1, size, dtype);
    in.k = multiples(in.k.shape(), 2, size, dtype);
    const std::vector<Tensor> got =
        run(function, in, {.num_heads = s.heads, .mask = causal ? Mask::causal() : Mask::none(), .need_weights = true},
            Through::output);
    const Plain plain = plain_attention(in, s, causal);
    const double epsilon = dtype == DType::f32 ? 0x1p-23 : 0x1p-52;
    const double smallest = dtype == DType::f32 ? 1e-46 : 0;  // below it e^x is 0
    double largest_gradient = 0;
    for (const double x : plain.dq) largest_gradient = std::max(largest_gradient, std::fabs(x));
    std::int64_t saturated = 0;
    for (std::int64_t row = 0; row < s.batch * s.heads * s.queries; ++row) {
        const std::int64_t b = row / s.queries / s.heads, h = row / s.queries % s.heads, i = row % s.queries;
        bool takes_all = false, others = false;
        double sum = 0;
        for (std::int64_t j = 0; j < s.keys; ++j) {
            const double expected = plain.weights[static_cast<std::size_t>(row * s.keys + j)];
            const double weight = got[1].at({b, h, i, j});
            sum += weight;
            takes_all = takes_all || expected == 1;
            others = others || (expected > smallest && expected < 1);
            ASSERT_NEAR(weight, expected, 40 * epsilon) << "query " << i << ", key " << j;
        }
        ASSERT_NEAR(sum, 1, 20 * epsilon) << "query " << i;
        takes_all = takes_all && !others;
        saturated += takes_all ? 1 : 0;
        for (std::int64_t j = 0; takes_all && j < s.keys; ++j) {
            const double expected = plain.weights[static_cast<std::size_t>(row * s.keys + j)];
            ASSERT_EQ(got[1].at({b, h, i, j}), expected == 1 ? 1 : 0) << "query " << i << ", key " << j;
        }
        for (std::int64_t c = h * s.key_dim; c < (h + 1) * s.key_dim; ++c) {
            const double dq = got[2].at({b, i, c});
            if (takes_all) ASSERT_EQ(dq, 0) << "query " << i;
            else
                ASSERT_NEAR(dq, plain.dq[static_cast<std::size_t>((b * s.queries + i) * s.heads * s.key_dim + c)],
                            200 * epsilon * largest_gradient)
                    << "query " << i;
        }
    }
    EXPECT_GT(saturated, s.queries / 2);
}

TEST(AttentionExtremes, SoftmaxAtVeryLargeScores) {
    for (const DType dtype : {DType::f32, DType::f64})
        for (const Attention function : {attention, attention_unfused})
            for (const Sizes& s : {Sizes{2, 2, 33, 33, 8, 4}, Sizes{1, 3, 20, 70, 32, 5}, Sizes{1, 2, 70, 131, 5, 3}})
                for (const bool causal : {false, true})
                    for (const double size : {0x1p5, 0x1p6, 0x1p10, 0x1p17, 0x1p30, 0x1p55}) {
                        SCOPED_TRACE(std::string(name_of(dtype)) + ", size " + std::to_string(size) + ", " +
                                     std::to_string(s.keys) + " keys" + (causal ? ", causal" : "") +
                                     (function == attention ? ", fused" : ", unfused"));
                        expect_plain(function, s, causal, size, dtype);
                    }
}

// The weights are more than is kept for the backward pass, which computes them again.
TEST(AttentionExtremes, SoftmaxAtVeryLargeScoresComputedAgain) {
    expect_plain(attention, {1, 2, 800, 800, 8, 4}, true, 0x1p20, DType::f32);
}

// Every mask, alibi too: weights in [0, 1] that sum to 1 where anything is seen, and finite gradients.
TEST(AttentionExtremes, MaskedRowsOfVeryLargeScoresSumToOne) {
    const Sizes s{2, 3, 37, 35, 8, 4};
    for (const double size : {1e2, 1e4, 1e9, 1e17})
        for (const NamedMask& mask : masks_for(s))
            for (const bool alibi : {false, true})
                for (const Attention function : {attention, attention_unfused}) {
                    SCOPED_TRACE(mask.name + (alibi ? ", alibi" : "") + ", size " + std::to_string(size));
                    Inputs in = random_inputs(s, DType::f32);
                    in.q = in.q * Tensor::full({}, size);
                    in.k = in.k * Tensor::full({}, size);
                    const std::vector<Tensor> got = run(
                        function, in, {.num_heads = s.heads, .mask = mask.mask, .need_weights = true, .alibi = alibi},
                        Through::both);
                    for (const Tensor& tensor : got) ASSERT_EQ(difference(tensor, tensor), 0) << "not finite";
                    const Tensor seen = visible_keys(mask.mask, s.queries, s.keys);
                    for (std::int64_t row = 0; row < s.batch * s.heads * s.queries; ++row) {
                        const std::int64_t b = row / s.queries / s.heads, h = row / s.queries % s.heads,
                                           i = row % s.queries;
                        bool any = !seen.defined();
                        double sum = 0;
                        for (std::int64_t j = 0; j < s.keys; ++j) {
                            sum += got[1].at({b, h, i, j});
                            any = any || seen.at({seen.size(0) == 1 ? 0 : b, seen.size(1) == 1 ? 0 : h,
                                                  seen.size(2) == 1 ? 0 : i, j}) != 0;
                        }
                        ASSERT_NEAR(sum, any ? 1 : 0, 2e-6) << b << ", " << h << ", " << i;
                    }
                }
}

// q k = -1e60 is -inf in f32. The key is visible, so its weight is not 0.
TEST(AttentionExtremes, ScoresThatOverflowAreNaN) {
    const Tensor q = Tensor::full({1, 2, 1}, 1e30), k = Tensor::full({1, 3, 1}, -1e30), v = random_tensor({1, 3, 2}, 1);
    const Tensor visible = Tensor::from({1, 1, 2, 3}, {0, 0, 0, 1, 1, 0}, DType::boolean);
    for (const Attention function : {attention, attention_unfused}) {
        const AttentionResult result = function(q, k, v, {.mask = Mask::visible(visible), .need_weights = true});
        EXPECT_EQ(result.weights.at({0, 0, 0, 1}), 0);
        EXPECT_TRUE(std::isnan(result.weights.at({0, 0, 1, 1})));
        EXPECT_TRUE(std::isnan(result.output.at({0, 1, 0})));
    }
}

// Weights are those of f64, where nothing vanishes, or the whole row is 0 and so are its gradients.
TEST(AttentionExtremes, VanishingFeaturesGiveRightWeightsOrNone) {
    std::int64_t empty = 0, full = 0;
    for (const bool causal : {false, true})
        for (const Attention function : {attention, attention_unfused})
            for (int level = 20; level <= 110; level += 2) {
                SCOPED_TRACE("level " + std::to_string(level));
                const Sizes s{1, 2, 9, 13, 3, 2};
                Inputs in = random_inputs(s, DType::f32);
                // Some keys and queries have features of about e^-level, a few components large ones.
                const auto lowered = [&](const Tensor& x, std::uint64_t seed) {
                    Tensor result = x.clone();
                    const RandomStream random(seed, "lowered");
                    for (std::int64_t i = 0; i < x.numel(); ++i) {
                        const double u = random.uniform(static_cast<std::uint64_t>(i));
                        result.data<float>()[i] =
                            static_cast<float>(x.data<float>()[i] * 2 - level * (u < 0.9 ? 0.5 + 0.5 * u : -1e3));
                    }
                    return result;
                };
                in.q = lowered(in.q, 1);
                in.k = lowered(in.k, 2);
                const Inputs wide{in.q.to(DType::f64), in.k.to(DType::f64), in.v.to(DType::f64),
                                  in.d_output.to(DType::f64), in.d_weights.to(DType::f64)};
                const AttentionOptions options{.num_heads = s.heads,
                                               .mask = causal ? Mask::causal() : Mask::none(),
                                               .need_weights = true,
                                               .kind = AttentionKind::linear};
                const std::vector<Tensor> got = run(function, in, options, Through::output);
                const std::vector<Tensor> exact = run(function, wide, options, Through::output);
                for (std::int64_t h = 0; h < s.heads; ++h)
                    for (std::int64_t i = 0; i < s.queries; ++i) {
                        double sum = 0, dq = 0;
                        for (std::int64_t j = 0; j < s.keys; ++j) sum += got[1].at({0, h, i, j});
                        for (std::int64_t c = 0; c < s.key_dim; ++c)
                            dq += std::fabs(got[2].at({0, i, h * s.key_dim + c}));
                        ++(sum == 0 ? empty : full);
                        if (sum == 0) {
                            ASSERT_EQ(dq, 0);
                            continue;
                        }
                        for (std::int64_t j = 0; j < s.keys; ++j)
                            ASSERT_NEAR(got[1].at({0, h, i, j}), exact[1].at({0, h, i, j}), 1e-5)
                                << "head " << h << ", query " << i << ", key " << j;
                    }
            }
    EXPECT_GT(empty, 100);  // both kinds are met
    EXPECT_GT(full, 100);
}

// What a query cannot see does not decide whether its weights vanish.
TEST(AttentionExtremes, HiddenFeaturesDoNotMatter) {
    const Tensor q = Tensor::full({1, 2, 1}, -20), v = random_tensor({1, 2, 1}, 1);
    const Tensor k = Tensor::from({1, 2, 1}, {-20, 1e30});  // the second key is hidden from the first query
    for (const Attention function : {attention, attention_unfused}) {
        const AttentionResult result =
            function(q, k, v, {.mask = Mask::causal(), .need_weights = true, .kind = AttentionKind::linear});
        EXPECT_EQ(result.weights.at({0, 0, 0, 0}), 1);
    }
}

}  // namespace
}  // namespace headscope
