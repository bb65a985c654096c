#include "autograd/gradcheck.h"
#include "nn/multi_head_attention.h"
#include "tests/nn/random_tensors.h"

namespace headscope::nn {
namespace {

/// d_model 7, 3 heads of 4.
struct Bench {
    explicit Bench(DType dtype = DType::f32) : attention(7, 3, {.head_dim = 4}) {
        attention.to(dtype);
        randomise(attention, 1);
        x = random_tensor({2, 5, 7}, 20, dtype);
        residual = random_tensor({2, 5, 7}, 21, dtype);
    }
    Tensor run() { return attention.forward(x, x, x, Mask::causal(), false, residual).output; }

    MultiHeadAttention attention;
    Tensor x, residual;
};

TEST(AttentionEdit, OfTheHeadsIsWhatTheOutputProjectionGets) {
    Bench bench;
    const Tensor plain = bench.run();
    const Tensor other = random_tensor({2, 5, 12}, 3);
    AttentionRecord record;
    bench.attention.watch(&record);
    bench.run();
    const Tensor before = record.head_out.clone();
    Tensor seen;
    bench.attention.edit({.heads = [&](const Tensor& heads) {
        seen = heads.detach();
        return other;
    }});
    const Tensor edited = bench.run();
    EXPECT_TRUE(same_bits(seen, before));
    EXPECT_TRUE(same_bits(record.head_out, other));
    EXPECT_TRUE(same_bits(record.output, edited));
    EXPECT_TRUE(same_bits(edited, linear(other, bench.attention.W_o.weight, bench.attention.W_o.bias, bench.residual)));
    EXPECT_FALSE(same_bits(edited, plain));

    bench.attention.edit({.heads = [](const Tensor& heads) { return heads; }});
    EXPECT_TRUE(same_bits(bench.run(), plain));
    bench.attention.edit({});
    EXPECT_TRUE(same_bits(bench.run(), plain));
}

TEST(AttentionEdit, ComesAfterTheGates) {
    Bench bench;
    HeadGates gates(3);
    gates.weight.data<float>()[1] = 0;
    bench.attention.use_gates(&gates);
    bench.attention.edit({.heads = [](const Tensor& heads) {
        EXPECT_EQ(heads.at({1, 2, 5}), 0);
        EXPECT_NE(heads.at({1, 2, 3}), 0);
        return heads;
    }});
    bench.run();
}

TEST(AttentionEdit, OfTheOutputLeavesTheResidualAlone) {
    Bench bench(DType::f64);
    AttentionRecord record;
    bench.attention.watch(&record);
    const Tensor other = random_tensor({2, 5, 7}, 4, DType::f64);
    bench.attention.edit({.output = [&](const Tensor& heads, const Tensor& output) {
        EXPECT_TRUE(same_bits(bench.attention.W_o.forward(heads), output));
        return other;
    }});
    const Tensor edited = bench.run();
    EXPECT_TRUE(same_bits(edited, bench.residual + other));
    EXPECT_TRUE(same_bits(record.output, edited));
    bench.residual = Tensor();
    EXPECT_TRUE(same_bits(bench.run(), other));
}

TEST(AttentionEdit, IsDifferentiatedWithTheRest) {
    Bench bench(DType::f64);
    // What it adds depends on the heads in both places.
    bench.attention.edit(
        {.heads = [](const Tensor& heads) { return mul(heads, tanh(heads)); },
         .output = [](const Tensor& heads,
                      const Tensor& output) { return mul(output, sum(mul(heads, heads), {-1}, true)); }});
    std::vector<Tensor> inputs{bench.x.set_requires_grad(), bench.residual.set_requires_grad()};
    for (const NamedTensor& parameter : bench.attention.named_parameters()) inputs.push_back(parameter.tensor);
    const GradcheckResult result =
        gradcheck([&](const std::vector<Tensor>&) { return std::vector{bench.run()}; }, inputs);
    EXPECT_TRUE(result.ok) << result.message;
}

TEST(AttentionEdit, MustKeepTheShape) {
    Bench bench;
    bench.attention.edit({.heads = [](const Tensor& heads) { return slice(heads, -1, 0, 4); }});
    EXPECT_HAS(error_of([&] { bench.run(); }), "`heads` must keep shape and dtype; it was given [2, 5, 12] float32");
    bench.attention.edit({.output = [](const Tensor&, const Tensor& output) { return output.to(DType::f64); }});
    EXPECT_HAS(error_of([&] { bench.run(); }), "it returned [2, 5, 7] float64");
    bench.attention.edit({.output = [](const Tensor&, const Tensor&) { return Tensor(); }});
    EXPECT_HAS(error_of([&] { bench.run(); }), "it returned none");
}

}  // namespace
}  // namespace headscope::nn
