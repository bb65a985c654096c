#include "nn/multi_head_attention.h"

#include "tests/nn/random_tensors.h"

namespace headscope::nn {
namespace {

/// What looks at an attention's points see.
struct Seen {
    Tensor q, k, v, weights, head_out;
    std::vector<Guest> guests;
    void look_at(MultiHeadAttention& attention) {
        const auto keep = [this](Point& point, Tensor& place) {
            guests.push_back(point.look([&place](const Tensor& value) { place = value; }));
        };
        keep(attention.q, q);
        keep(attention.k, k);
        keep(attention.v, v);
        keep(attention.weights, weights);
        keep(attention.heads, head_out);
    }
};

AttentionModuleOptions with_head_dim(std::int64_t head_dim, bool fused = true) {
    AttentionModuleOptions options;
    options.head_dim = head_dim;
    options.fused = fused;
    return options;
}

TEST(MultiHeadAttention, TheUsualDemo) {
    MultiHeadAttention attention(512, 8);
    EXPECT_EQ(attention.head_dim(), 64);
    const Tensor x = random_tensor({2, 10, 512}, 1);
    const auto [output, weights] = attention.forward(x, x, x);
    EXPECT_EQ(output.shape().str(), "[2, 10, 512]");
    ASSERT_EQ(weights.shape().str(), "[2, 8, 10, 10]");
    for (std::int64_t row = 0; row < 2 * 8 * 10; ++row) {
        double total = 0;
        for (std::int64_t key = 0; key < 10; ++key) {
            const float weight = weights.data<float>()[row * 10 + key];
            EXPECT_GE(weight, 0);
            total += static_cast<double>(weight);
        }
        EXPECT_NEAR(total, 1, 1e-5) << row;
    }
}

/// One row x of [B, T, d] through rows [first, first + count) of a Linear.
std::vector<double> project(const Linear& linear, const Tensor& x, std::int64_t row, std::int64_t first,
                            std::int64_t count) {
    const std::int64_t in = x.size(2);
    std::vector<double> y;
    for (std::int64_t r = first; r < first + count; ++r) {
        double total = linear.bias.data<double>()[r];
        for (std::int64_t i = 0; i < in; ++i)
            total += linear.weight.data<double>()[r * in + i] * x.data<double>()[row * in + i];
        y.push_back(total);
    }
    return y;
}

// Written out head by head with small loops, so that the layout of the big matrices is proved by something else.
TEST(MultiHeadAttention, CrossAttentionByHand) {
    constexpr std::int64_t B = 2, Tq = 3, Tk = 5, d = 7, H = 3, dk = 4;
    for (const bool fused : {true, false}) {
        MultiHeadAttention attention(d, H, with_head_dim(dk, fused));
        attention.to(DType::f64);
        randomise(attention, 10);
        const Tensor query = random_tensor({B, Tq, d}, 1, DType::f64), key = random_tensor({B, Tk, d}, 2, DType::f64),
                     value = random_tensor({B, Tk, d}, 3, DType::f64);
        const auto [output, weights] = attention.forward(query, key, value);
        ASSERT_EQ(output.shape().str(), "[2, 3, 7]");
        ASSERT_EQ(weights.shape().str(), "[2, 3, 3, 5]");

        for (std::int64_t b = 0; b < B; ++b)
            for (std::int64_t i = 0; i < Tq; ++i) {
                std::vector<double> joined;  // heads side by side
                for (std::int64_t h = 0; h < H; ++h) {
                    const auto q = project(attention.W_q, query, b * Tq + i, h * dk, dk);
                    std::vector<double> p(Tk), out(dk, 0.0);
                    double total = 0;
                    for (std::int64_t j = 0; j < Tk; ++j) {
                        const auto k = project(attention.W_k, key, b * Tk + j, h * dk, dk);
                        double score = 0;
                        for (std::size_t c = 0; c < dk; ++c) score += q[c] * k[c];
                        total += p[static_cast<std::size_t>(j)] = std::exp(score / std::sqrt(double{dk}));
                    }
                    for (std::int64_t j = 0; j < Tk; ++j) {
                        const double weight = p[static_cast<std::size_t>(j)] / total;
                        EXPECT_NEAR(weights.at({b, h, i, j}), weight, 1e-12);
                        const auto v = project(attention.W_v, value, b * Tk + j, h * dk, dk);
                        for (std::size_t c = 0; c < dk; ++c) out[c] += weight * v[c];
                    }
                    joined.insert(joined.end(), out.begin(), out.end());
                }
                const Tensor row = Tensor::from<double>({1, 1, H * dk}, joined);
                const auto expected = project(attention.W_o, row, 0, 0, d);
                for (std::int64_t c = 0; c < d; ++c)
                    EXPECT_NEAR(output.at({b, i, c}), expected[static_cast<std::size_t>(c)], 1e-11);
            }
    }
}

TEST(MultiHeadAttention, FusedIsUnfused) {
    MultiHeadAttention fused(7, 3, with_head_dim(5)), unfused(7, 3, with_head_dim(5, false));
    fused.to(DType::f64);
    unfused.to(DType::f64);
    randomise(fused, 10);
    unfused.load_state_dict(fused.state_dict());
    const Tensor x = random_tensor({2, 6, 7}, 1, DType::f64);
    for (const Mask& mask : {Mask::none(), Mask::causal()}) {
        const auto a = fused.forward(x, x, x, mask), b = unfused.forward(x, x, x, mask);
        EXPECT_LT(distance(a.output, b.output), 1e-12);
        EXPECT_LT(distance(a.attention_weights, b.attention_weights), 1e-12);
        fused.zero_grad();
        unfused.zero_grad();
        backward(random_loss(a.output, 4));
        backward(random_loss(b.output, 4));
        const auto ours = fused.named_parameters(), theirs = unfused.named_parameters();
        for (std::size_t i = 0; i < ours.size(); ++i)
            EXPECT_LT(distance(ours[i].tensor.grad(), theirs[i].tensor.grad()), 1e-11) << ours[i].name;
    }
}

TEST(MultiHeadAttention, PaddingDoesNotLeak) {
    MultiHeadAttention attention(6, 2);
    const Tensor x = random_tensor({2, 5, 6}, 1);
    Tensor valid = Tensor::full({2, 5}, 1, DType::boolean), changed = x.clone();
    for (const std::int64_t row : {3, 4, 9}) {  // the last two tokens of sample 0, the last of sample 1
        valid.data<std::uint8_t>()[row] = 0;
        for (std::int64_t c = 0; c < 6; ++c) changed.data<float>()[row * 6 + c] = 1000 + static_cast<float>(row + c);
    }
    const auto before = attention.forward(x, x, x, Mask::padding(valid));
    const auto after = attention.forward(changed, changed, changed, Mask::padding(valid));
    for (std::int64_t row = 0; row < 10; ++row) {
        if (valid.data<std::uint8_t>()[row] == 0) continue;
        for (std::int64_t c = 0; c < 6; ++c)
            EXPECT_EQ(before.output.data<float>()[row * 6 + c], after.output.data<float>()[row * 6 + c]);
    }
    for (std::int64_t h = 0; h < 2; ++h)
        for (std::int64_t i = 0; i < 5; ++i) {
            EXPECT_EQ(before.attention_weights.at({0, h, i, 3}), 0);
            EXPECT_EQ(before.attention_weights.at({1, h, i, 4}), 0);
            EXPECT_GT(before.attention_weights.at({1, h, i, 3}), 0);
        }
}

TEST(MultiHeadAttention, WatchingChangesNothing) {
    MultiHeadAttention attention(10, 3, with_head_dim(4));
    const Tensor query = random_tensor({2, 3, 10}, 1), key = random_tensor({2, 5, 10}, 2);
    const auto step = [&] {
        attention.zero_grad();
        const auto result = attention.forward(query, key, key, Mask::none(), false);
        EXPECT_FALSE(result.attention_weights.defined());
        backward(random_loss(result.output, 4));
        return std::pair{result.output, attention.W_k.weight.grad().clone()};
    };
    const auto [output, gradient] = step();
    Seen record;
    record.look_at(attention);
    const auto [watched_output, watched_gradient] = step();
    EXPECT_TRUE(same_bits(output, watched_output));
    EXPECT_TRUE(same_bits(gradient, watched_gradient));

    EXPECT_TRUE(same_bits(record.q, attention.W_q.forward(query)));
    EXPECT_TRUE(same_bits(record.k, attention.W_k.forward(key)));
    EXPECT_TRUE(same_bits(record.v, attention.W_v.forward(key)));
    EXPECT_EQ(record.weights.shape().str(), "[2, 3, 3, 5]");
    EXPECT_TRUE(same_bits(attention.W_o.forward(record.head_out), output));
    for (const Tensor* tensor : {&record.q, &record.k, &record.v, &record.weights, &record.head_out})
        EXPECT_FALSE(tensor->requires_grad());

    record = {};
    step();
    EXPECT_FALSE(record.q.defined());
}

TEST(MultiHeadAttention, RotaryTurnsQueriesAndKeysAndNothingElse) {
    MultiHeadAttention attention(10, 3, {.head_dim = 4, .rotary = true}), plain(10, 3, {.head_dim = 4});
    plain.load_state_dict(attention.state_dict());
    const Tensor query = random_tensor({2, 3, 10}, 1), key = random_tensor({2, 5, 10}, 2);
    Seen record;
    record.look_at(attention);
    attention.forward(query, key, key);
    EXPECT_TRUE(same_bits(record.q, rotary(plain.W_q.forward(query), 3)));
    EXPECT_TRUE(same_bits(record.k, rotary(plain.W_k.forward(key), 3)));
    EXPECT_TRUE(same_bits(record.v, plain.W_v.forward(key)));
    EXPECT_TRUE(
        same_bits(record.weights,
                  headscope::attention(record.q, record.k, record.v, {.num_heads = 3, .need_weights = true}).weights));
    EXPECT_GT(distance(record.weights, plain.forward(query, key, key).attention_weights), 1e-3);
}

TEST(MultiHeadAttention, Errors) {
    EXPECT_HAS(error_of([] { MultiHeadAttention(10, 2, {.rotary = true}); }), "even head_dim; head_dim is 5");
    for (const AttentionKind kind : {AttentionKind::linear, AttentionKind::uniform})
        EXPECT_HAS(error_of([&] { MultiHeadAttention(10, 2, {.kind = kind, .alibi = true}); }), "alibi");
    const std::string message = error_of([] { MultiHeadAttention(10, 3); });
    EXPECT_HAS(message, "d_model is 10, num_heads is 3");
    EXPECT_HAS(message, "head_dim");
    EXPECT_HAS(error_of([] { MultiHeadAttention(10, 0); }), "num_heads is 0");
    AttentionModuleOptions options;
    options.dropout = 1;
    EXPECT_HAS(error_of([&] { MultiHeadAttention(10, 2, options); }), "dropout");
    MultiHeadAttention attention(6, 2);
    const Tensor x = random_tensor({2, 5, 6}, 1), wide = random_tensor({2, 5, 7}, 1),
                 longer = random_tensor({2, 4, 6}, 1);
    EXPECT_HAS(error_of([&] { attention.forward(wide, x, x); }), "[2, 5, 7]");
    EXPECT_NE(error_of([&] { attention.forward(x, x, longer); }), "");
}

}  // namespace
}  // namespace headscope::nn
