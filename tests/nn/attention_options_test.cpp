// Options of attention: normalised queries and keys, groups of keys and values, windows. Each against the same thing
// composed by hand, and gradchecked in f64.
#include <cmath>

#include "nn/per_head_attention.h"
#include "tests/nn/small_attention.h"

namespace headscope::nn {
namespace {

TEST(QkNorm, DividesEveryHeadByItsRootMeanSquare) {
    SmallAttention small({.qk_norm = true}), plain({});
    plain.attention.load_state_dict(small.attention.state_dict());
    Tensor q, plain_q, k;
    const Guest look = small.attention.q.look([&](const Tensor& seen) { q = seen; });
    const Guest look_k = small.attention.k.look([&](const Tensor& seen) { k = seen; });
    const Guest plain_look = plain.attention.q.look([&](const Tensor& seen) { plain_q = seen; });
    small.run();
    plain.run();
    for (const std::int64_t head : {0, 1, 2}) {
        double square = 0, square_k = 0;
        for (std::int64_t c = 4 * head; c < 4 * head + 4; ++c) {
            square += plain_q.at({1, 3, c}) * plain_q.at({1, 3, c}) / 4;
            square_k += k.at({1, 3, c}) * k.at({1, 3, c}) / 4;
        }
        EXPECT_NEAR(q.at({1, 3, 4 * head}), plain_q.at({1, 3, 4 * head}) / std::sqrt(square + 1e-5), 1e-13);
        EXPECT_NEAR(square_k, 1, 1e-3);
    }
    expect_gradients(small.attention, {small.x}, [&](const auto& in) {
        return small.attention.forward(in[0], in[0], in[0], Mask::causal(), false).output;
    });
}

/// Groups are what a model with a key and value for each head computes when the heads of a group have equal ones.
TEST(KvHeads, AreSharedByTheHeadsOfAGroup) {
    for (const auto& [heads, groups] : {std::pair<std::int64_t, std::int64_t>{6, 3}, {5, 2}, {3, 1}, {4, 4}}) {
        SmallAttention grouped({.rotary = true, .kv_heads = groups}, heads), whole({.rotary = true}, heads);
        EXPECT_EQ(grouped.attention.W_k.weight.shape().str(), Shape({4 * groups, 7}).str());
        for (const Projection projection : projections)
            for (std::int64_t h = 0; h < heads; ++h)
                head_slice(whole.attention, h, projection)
                    .assign(head_slice(grouped.attention, h, projection).values());
        whole.attention.W_q.bias.copy_(grouped.attention.W_q.bias);
        whole.attention.W_o.bias.copy_(grouped.attention.W_o.bias);
        for (std::int64_t h = 0; h < heads; ++h)
            for (std::int64_t c = 0; c < 4; ++c) {
                const std::int64_t from = h * groups / heads * 4 + c;
                whole.attention.W_k.bias.data<double>()[h * 4 + c] = grouped.attention.W_k.bias.at({from});
                whole.attention.W_v.bias.data<double>()[h * 4 + c] = grouped.attention.W_v.bias.at({from});
            }
        const auto a = grouped.run(), b = whole.run();
        EXPECT_LT(distance(a.output, b.output), 1e-13);
        EXPECT_LT(distance(a.attention_weights, b.attention_weights), 1e-13);
        expect_gradients(grouped.attention, {grouped.x}, [&](const auto& in) {
            return grouped.attention.forward(in[0], in[0], in[0], Mask::causal(), false).output;
        });
    }
    EXPECT_HAS(error_of([] { MultiHeadAttention(8, 2, {.kv_heads = 3}); }), "kv_heads is 3, num_heads is 2");
    EXPECT_HAS(error_of([] { PerHeadAttention(8, 2, {.kv_heads = 1}); }), "keys and values of its own");
}

TEST(Window, HidesWhatLiesFurtherBack) {
    for (const AttentionKind kind : {AttentionKind::softmax, AttentionKind::linear, AttentionKind::uniform}) {
        SmallAttention small({.kind = kind});
        const auto [output, weights] = small.run(Mask::window(2, 5, 5));
        for (std::int64_t i = 0; i < 5; ++i) {
            double sum = 0;
            for (std::int64_t j = 0; j < 5; ++j) {
                EXPECT_EQ(weights.at({1, 2, i, j}) > 0, i - 2 < j && j <= i) << i << " " << j;
                sum += weights.at({1, 2, i, j});
            }
            EXPECT_NEAR(sum, 1, 1e-14);
        }
        EXPECT_LT(distance(small.run(Mask::window(5, 5, 5)).output, small.run().output), 1e-14);
        expect_gradients(small.attention, {small.x}, [&](const auto& in) {
            return small.attention.forward(in[0], in[0], in[0], Mask::window(2, 5, 5), false).output;
        });
    }
    EXPECT_HAS(error_of([] { Mask::window(0, 5, 5); }), "at least 1 wide");
}

}  // namespace
}  // namespace headscope::nn
