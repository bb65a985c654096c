#include "nn/init.h"

#include "autograd/parallel.h"
#include "autograd/random.h"
#include "nn/layer_norm.h"
#include "nn/mlp.h"
#include "nn/transformer.h"
#include "tests/nn/random_tensors.h"

namespace headscope::nn {
namespace {

struct Spread {
    double mean = 0, std = 0, largest = 0;
};

Spread spread_of(const Tensor& x) {
    Spread spread;
    const double n = static_cast<double>(x.numel());
    for (const float value : x.values<float>()) spread.mean += static_cast<double>(value) / n;
    for (const float value : x.values<float>()) {
        const double v = static_cast<double>(value);
        spread.std += (v - spread.mean) * (v - spread.mean) / n;
        spread.largest = std::max(spread.largest, std::abs(v));
    }
    spread.std = std::sqrt(spread.std);
    return spread;
}

void expect_uniform(const Tensor& x, double limit) {
    const Spread spread = spread_of(x);
    EXPECT_LE(spread.largest, limit * (1 + 1e-6));
    EXPECT_GT(spread.largest, 0.98 * limit);
    EXPECT_NEAR(spread.std, limit / std::sqrt(3.0), 0.03 * limit);
    EXPECT_NEAR(spread.mean, 0, 0.03 * limit);
}

void expect_normal(const Tensor& x, double std) {
    const Spread spread = spread_of(x);
    EXPECT_NEAR(spread.std, std, 0.03 * std);
    EXPECT_NEAR(spread.mean, 0, 0.05 * std);
    EXPECT_GT(spread.largest, 3 * std);
}

constexpr std::int64_t in = 60, out = 90;

TEST(Init, SchemesOfALinear) {
    Linear linear(in, out);
    expect_uniform(linear.weight, 1 / std::sqrt(60.0));  // freshly built: as PyTorch does
    EXPECT_GT(largest(linear.bias), 0);
    EXPECT_LE(largest(linear.bias), 1 / std::sqrt(60.0));

    initialize(linear, {.scheme = InitScheme::xavier_uniform}, 1);
    expect_uniform(linear.weight, std::sqrt(6.0 / 150));
    EXPECT_TRUE(same_bits(linear.bias, Tensor::zeros({out})));  // none of them -0
    initialize(linear, {.scheme = InitScheme::xavier_normal}, 1);
    expect_normal(linear.weight, std::sqrt(2.0 / 150));
    initialize(linear, {.scheme = InitScheme::kaiming_uniform}, 1);
    expect_uniform(linear.weight, std::sqrt(6.0 / 60));
    initialize(linear, {.scheme = InitScheme::normal, .std = 0.3}, 1);
    expect_normal(linear.weight, 0.3);
    EXPECT_EQ(largest(linear.bias), 0);
}

TEST(Init, OrthogonalTallAndWide) {
    for (const auto& [rows, cols] : {std::pair<std::int64_t, std::int64_t>{9, 5}, {5, 9}, {6, 6}}) {
        Linear linear(cols, rows);
        linear.to(DType::f64);
        initialize(linear, {.scheme = InitScheme::orthogonal}, 3);
        const Tensor gram = rows > cols ? matmul(linear.weight, linear.weight, true)
                                        : matmul(linear.weight, linear.weight, false, true);
        for (std::int64_t i = 0; i < gram.size(0); ++i)
            for (std::int64_t j = 0; j < gram.size(0); ++j) EXPECT_NEAR(gram.at({i, j}), i == j, 1e-12);
    }
}

// Uniform over the orthogonal matrices: without the signs of R's diagonal the trace of Q leans to one side.
TEST(Init, OrthogonalHasNoPreferredSign) {
    double total = 0;
    for (std::uint64_t seed = 0; seed < 400; ++seed) {
        Linear linear(3, 3);
        initialize(linear, {.scheme = InitScheme::orthogonal}, seed);
        for (std::int64_t i = 0; i < 3; ++i) total += linear.weight.at({i, i});
    }
    EXPECT_NEAR(total / 400, 0, 0.2);
}

TEST(Init, StreamsAreNamedAfterTheParameters) {
    Mlp module({.d_model = 3, .d_ff = 4});
    initialize(module, {.scheme = InitScheme::pytorch}, 5);
    const RandomStream weight(5, "init.linear2.weight"), bias(5, "init.linear1.bias");
    for (std::uint64_t i = 0; i < 12; ++i)
        EXPECT_FLOAT_EQ(module.linear2.weight.data<float>()[i], static_cast<float>((2 * weight.uniform(i) - 1) / 2));
    for (std::uint64_t i = 0; i < 4; ++i)
        EXPECT_FLOAT_EQ(module.linear1.bias.data<float>()[i],
                        static_cast<float>((2 * bias.uniform(i) - 1) / std::sqrt(3.0)));
}

TransformerOptions small() {
    TransformerOptions options;
    options.vocab_size = 70;
    options.max_len = 50;
    options.num_layers = 2;
    options.block.d_model = 30;
    options.block.num_heads = 3;
    options.block.d_ff = 40;
    return options;
}

const LayerNorm& layer_norm(const std::unique_ptr<Norm>& norm) { return dynamic_cast<const LayerNorm&>(*norm); }

TEST(Init, OfATransformer) {
    Transformer model(small());
    initialize(model, {.embedding_std = 0.5}, 1);
    expect_normal(model.embedding.weight, 0.5);
    expect_normal(model.position->weight, 0.5);
    expect_uniform(model.head->weight, std::sqrt(6.0 / 100));
    for (const Tensor& ones : {layer_norm(model.norm).weight, layer_norm(model.blocks[1]->norm1).weight,
                               layer_norm(model.blocks[0]->norm2).weight})
        for (const float value : ones.values<float>()) EXPECT_EQ(value, 1);
    EXPECT_EQ(largest(layer_norm(model.norm).bias), 0);
    EXPECT_EQ(largest(model.blocks[1]->attn.W_q.bias), 0);
    EXPECT_FALSE(same_bits(model.blocks[0]->attn.W_q.weight, model.blocks[0]->attn.W_k.weight));
    EXPECT_FALSE(same_bits(model.blocks[0]->attn.W_q.weight, model.blocks[1]->attn.W_q.weight));
}

TEST(Init, OtherParametersDoNotMoveTheDraw) {
    TransformerOptions options = small();
    Transformer model(options);
    initialize(model, {}, 4);
    const Tensor reference = model.blocks[1]->attn.W_v.weight;
    options.num_layers = 3;
    options.block.bias = false;
    options.block.d_ff = 0;
    Transformer other(options);
    initialize(other, {}, 4);
    EXPECT_TRUE(same_bits(other.blocks[1]->attn.W_v.weight, reference));
    initialize(other, {}, 5);
    EXPECT_FALSE(same_bits(other.blocks[1]->attn.W_v.weight, reference));
}

TEST(Init, F32IsF64RoundedAndThreadsDoNotMatter) {
    Transformer single(small()), twice(small());
    twice.to(DType::f64);
    const int threads = num_threads();
    set_num_threads(1);
    initialize(single, {.scheme = InitScheme::xavier_normal}, 4);
    set_num_threads(3);
    initialize(twice, {.scheme = InitScheme::xavier_normal}, 4);
    set_num_threads(threads);
    const StateDict a = single.state_dict(), b = twice.state_dict();
    for (const auto& [name, tensor] : a) EXPECT_TRUE(same_bits(tensor, b.at(name).to(DType::f32))) << name;
}

// Nobody draws under a DeferInit, and what is drawn once at the end is what initialize() draws.
TEST(Init, NewModulesAreDrawnOnceByTheOutermost) {
    Transformer fresh(small());
    StateDict deferred_state;
    {
        const DeferInit defer;
        EXPECT_EQ(Linear(3, 5, true).weight.at({2, 1}), 0);
        Transformer untouched(small());
        for (const auto& [name, tensor] : untouched.state_dict()) EXPECT_EQ(spread_of(tensor).largest, 0) << name;
        initialize(untouched, {.scheme = InitScheme::pytorch});
        deferred_state = untouched.state_dict();
    }
    for (const auto& [name, tensor] : fresh.state_dict())
        EXPECT_TRUE(same_bits(tensor, deferred_state.at(name))) << name;
    EXPECT_NE(Linear(3, 5, true).weight.at({2, 1}), 0);
    EXPECT_NE(MultiHeadAttention(6, 2).W_v.bias.at({3}), 0);
    EXPECT_NE(Mlp({.d_model = 6, .d_ff = 7}).linear2.weight.at({3, 2}), 0);
}

TEST(Init, ClonesHeadsOfTheListedProjections) {
    MultiHeadAttention attention(7, 3, {.head_dim = 4}), plain(7, 3, {.head_dim = 4});
    initialize(attention, {.scheme = InitScheme::pytorch, .clone_heads = {'q', 'o'}}, 2);
    initialize(plain, {.scheme = InitScheme::pytorch}, 2);
    for (const Projection p : projections) {
        const bool cloned = p == Projection::q || p == Projection::o;
        const Tensor first = head_slice(attention, 0, p).values();
        EXPECT_TRUE(same_bits(first, head_slice(plain, 0, p).values())) << name_of(p);
        for (std::int64_t h = 1; h < 3; ++h)
            EXPECT_EQ(bool(same_bits(head_slice(attention, h, p).values(), first)), cloned) << name_of(p) << h;
    }
    for (std::int64_t i = 0; i < 12; ++i) EXPECT_EQ(attention.W_q.bias.at({i}), plain.W_q.bias.at({i % 4}));
    EXPECT_TRUE(same_bits(attention.W_k.bias, plain.W_k.bias));
    EXPECT_TRUE(same_bits(attention.W_o.bias, plain.W_o.bias));
}

TEST(Init, CloneNoiseComesOnTop) {
    MultiHeadAttention clones(20, 2, {.head_dim = 30}), noisy(20, 2, {.head_dim = 30});
    for (MultiHeadAttention* attention : {&clones, &noisy}) attention->to(DType::f64);
    initialize(clones, {.scheme = InitScheme::pytorch, .clone_heads = {'q', 'v', 'o'}}, 2);
    initialize(noisy, {.scheme = InitScheme::pytorch, .clone_heads = {'q', 'v', 'o'}, .clone_noise = 1e-3}, 2);
    expect_normal(sub(noisy.W_q.weight, clones.W_q.weight).to(DType::f32), 1e-3);
    expect_normal(sub(noisy.W_o.weight, clones.W_o.weight).to(DType::f32), 1e-3);
    const RandomStream weight(2, "clone_noise.W_v.weight"), bias(2, "clone_noise.W_v.bias");
    for (std::int64_t i = 0; i < 60; ++i) {
        const auto index = static_cast<std::uint64_t>(i);
        EXPECT_NEAR(noisy.W_v.bias.at({i}) - clones.W_v.bias.at({i}), 1e-3 * bias.normal(index), 1e-15);
        EXPECT_NEAR(noisy.W_v.weight.at({0, 0}) - clones.W_v.weight.at({0, 0}), 1e-3 * weight.normal(0), 1e-15);
    }
    EXPECT_TRUE(same_bits(noisy.W_o.bias, clones.W_o.bias));
    EXPECT_TRUE(same_bits(noisy.W_k.weight, clones.W_k.weight));
    EXPECT_TRUE(same_bits(noisy.W_k.bias, clones.W_k.bias));
}

TEST(Init, UnknownLetter) {
    MultiHeadAttention attention(6, 2);
    const Tensor before = attention.W_q.weight.clone();
    EXPECT_HAS(error_of([&] { initialize(attention, {.clone_heads = {'q', 'x'}}, 2); }), "'x'");
    EXPECT_TRUE(same_bits(attention.W_q.weight, before));
}

}  // namespace
}  // namespace headscope::nn
