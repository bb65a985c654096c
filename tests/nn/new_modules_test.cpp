// Modules chosen by options: norms, feed-forwards, normalised queries and keys, groups, windows, sigmoid weights. Each
// against the same thing composed by hand, and gradchecked in f64.
#include <cmath>

#include "autograd/gradcheck.h"
#include "nn/per_head_attention.h"
#include "nn/rms_norm.h"
#include "nn/sigmoid_weights.h"
#include "nn/swiglu.h"
#include "nn/transformer.h"
#include "tests/nn/random_tensors.h"

namespace headscope::nn {
namespace {

void expect_gradients(const Module& module, std::vector<Tensor> inputs,
                      const std::function<Tensor(const std::vector<Tensor>&)>& forward) {
    for (Tensor& input : inputs) input.set_requires_grad();
    for (const Parameter& parameter : module.named_parameters()) inputs.push_back(parameter.tensor);
    const GradcheckResult result =
        gradcheck([&](const std::vector<Tensor>& in) { return std::vector{forward(in)}; }, inputs);
    EXPECT_TRUE(result.ok) << result.message;
}

/// Attention of 7 wide, 3 heads of 4, in f64 with random weights.
struct Bench {
    explicit Bench(AttentionModuleOptions options, std::int64_t heads = 3) : attention(7, heads, with_dim(options)) {
        attention.to(DType::f64);
        randomise(attention, 1);
        x = random_tensor({2, 5, 7}, 20, DType::f64);
    }
    static AttentionModuleOptions with_dim(AttentionModuleOptions options) {
        options.head_dim = 4;
        return options;
    }
    MultiHeadAttention::Result run(const Mask& mask = Mask::causal()) { return attention.forward(x, x, x, mask); }

    MultiHeadAttention attention;
    Tensor x;
};

TEST(SwiGlu, IsDownOfSiluGateTimesUp) {
    SwiGlu module({.d_model = 4, .d_ff = 7});
    module.to(DType::f64);
    randomise(module, 3);
    const Tensor x = random_tensor({2, 5, 4}, 1, DType::f64), residual = random_tensor({2, 5, 4}, 2, DType::f64);
    const Tensor gate = module.gate.forward(x), up = module.up.forward(x);
    Tensor hidden = Tensor::empty({2, 5, 7}, DType::f64);
    for (std::int64_t i = 0; i < hidden.numel(); ++i) {
        const double g = gate.data<double>()[i];
        hidden.data<double>()[i] = g / (1 + std::exp(-g)) * up.data<double>()[i];
    }
    EXPECT_LT(distance(module.forward(x), module.down.forward(hidden)), 1e-14);
    EXPECT_LT(distance(module.forward(x, residual), module.down.forward(hidden) + residual), 1e-14);
    EXPECT_FALSE(SwiGlu({.d_model = 4, .d_ff = 7, .bias = false}).gate.bias.defined());
    expect_gradients(module, {x, residual}, [&](const auto& in) { return module.forward(in[0], in[1]); });
}

TEST(QkNorm, DividesEveryHeadByItsRootMeanSquare) {
    Bench bench({.qk_norm = true}), plain({});
    plain.attention.load_state_dict(bench.attention.state_dict());
    Tensor q, plain_q, k;
    const Guest look = bench.attention.q.look([&](const Tensor& seen) { q = seen; });
    const Guest look_k = bench.attention.k.look([&](const Tensor& seen) { k = seen; });
    const Guest plain_look = plain.attention.q.look([&](const Tensor& seen) { plain_q = seen; });
    bench.run();
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
    expect_gradients(bench.attention, {bench.x}, [&](const auto& in) {
        return bench.attention.forward(in[0], in[0], in[0], Mask::causal(), false).output;
    });
}

/// Groups are what a model with a key and value for each head computes when the heads of a group have equal ones.
TEST(KvHeads, AreSharedByTheHeadsOfAGroup) {
    for (const auto& [heads, groups] : {std::pair<std::int64_t, std::int64_t>{6, 3}, {5, 2}, {3, 1}, {4, 4}}) {
        Bench grouped({.rotary = true, .kv_heads = groups}, heads), whole({.rotary = true}, heads);
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
        Bench bench({.kind = kind});
        const auto [output, weights] = bench.run(Mask::window(2, 5, 5));
        for (std::int64_t i = 0; i < 5; ++i) {
            double sum = 0;
            for (std::int64_t j = 0; j < 5; ++j) {
                EXPECT_EQ(weights.at({1, 2, i, j}) > 0, i - 2 < j && j <= i) << i << " " << j;
                sum += weights.at({1, 2, i, j});
            }
            EXPECT_NEAR(sum, 1, 1e-14);
        }
        EXPECT_LT(distance(bench.run(Mask::window(5, 5, 5)).output, bench.run().output), 1e-14);
        expect_gradients(bench.attention, {bench.x}, [&](const auto& in) {
            return bench.attention.forward(in[0], in[0], in[0], Mask::window(2, 5, 5), false).output;
        });
    }
    EXPECT_HAS(error_of([] { Mask::window(0, 5, 5); }), "at least 1 wide");
    TransformerOptions options{.vocab_size = 5, .max_len = 6, .num_layers = 1, .block = {.d_model = 6, .num_heads = 2}};
    options.window = 2;
    Transformer model(options);
    Tensor weights;
    const Guest look = model.point("blocks.0.attn.weights").look([&](const Tensor& seen) { weights = seen; });
    for (const std::int64_t length : {6, 4, 6}) {  // the mask follows the length
        model.forward(random_tokens({2, length}, 5, 1));
        ASSERT_EQ(weights.size(3), length);
        EXPECT_EQ(weights.at({1, 1, 3, 1}), 0);
        EXPECT_GT(weights.at({1, 1, 3, 2}), 0);
    }
    options.causal = false;
    EXPECT_HAS(error_of([&] { Transformer wrong(options); }), "a window needs a causal model");
}

TEST(SigmoidWeights, AreTheFormula) {
    Bench bench({.alibi = true, .weights = sigmoid_weights});
    Tensor scores;
    const Guest look = bench.attention.scores.look([&](const Tensor& seen) { scores = seen; });
    const auto [output, weights] = bench.run(Mask::window(3, 5, 5));
    for (std::int64_t h = 0; h < 3; ++h)
        for (std::int64_t i = 0; i < 5; ++i)
            for (std::int64_t j = 0; j < 5; ++j) {
                const double n = static_cast<double>(std::min<std::int64_t>(i + 1, 3));
                const double slope = std::exp2(-8.0 * static_cast<double>(h + 1) / 3);
                const double s = scores.at({1, h, i, j}) - slope * static_cast<double>(std::abs(i - j));
                const double expected = i - 3 < j && j <= i ? 1 / (1 + std::exp(std::log(n) - s)) : 0;
                EXPECT_NEAR(weights.at({1, h, i, j}), expected, 1e-14);
            }
    for (const Mask& mask : {Mask::causal(), Mask::none(), Mask::window(2, 5, 5)})
        expect_gradients(bench.attention, {bench.x}, [&](const auto& in) {
            return bench.attention.forward(in[0], in[0], in[0], mask, false).output;
        });
    // A query that sees no key has weights 0 and no gradient.
    const Tensor nothing = sigmoid_weights(scores, Tensor::zeros({1, 1, 5, 5}, DType::boolean));
    EXPECT_EQ(largest(nothing), 0);
}

TEST(RmsNormInABlock, IsChosenByAFactory) {
    TransformerOptions options{.vocab_size = 5, .max_len = 6, .num_layers = 2, .block = {.d_model = 6, .num_heads = 2}};
    options.block.make_norm = [](std::int64_t width) { return std::make_unique<RMSNorm>(width); };
    const Transformer model(options);
    EXPECT_NE(dynamic_cast<RMSNorm*>(model.norm.get()), nullptr);
    EXPECT_NE(dynamic_cast<RMSNorm*>(model.blocks[1]->norm2.get()), nullptr);
    for (const Parameter& parameter : model.named_parameters())
        EXPECT_EQ(parameter.role == ParameterRole::scale, parameter.name.find("norm") != std::string::npos);
}

TEST(NoLayers, TheEmbeddingIsReadOut) {
    TransformerOptions options{.vocab_size = 5, .max_len = 6, .num_layers = 0, .block = {.d_model = 6, .num_heads = 2}};
    Transformer model(options);
    randomise(model, 3);
    const Tensor tokens = random_tokens({2, 4}, 5, 1);
    Tensor embedded;
    const Guest look = model.embedded.look([&](const Tensor& seen) { embedded = seen; });
    const Tensor logits = model.forward(tokens);
    EXPECT_TRUE(same_bits(logits, model.head->forward(model.norm->forward(embedded))));
}

/// Every parameter of a model with everything in it has the role that its name tells a person.
TEST(ParameterRole, OfEveryParameter) {
    TransformerOptions options{.vocab_size = 5, .max_len = 6, .num_layers = 1, .block = {.d_model = 6, .num_heads = 2}};
    const Transformer model(options);
    for (const Parameter& parameter : model.named_parameters()) {
        const std::string& name = parameter.name;
        const ParameterRole expected = name == "embedding.weight" || name == "position.weight"
                                           ? ParameterRole::embedding
                                       : name == "head.weight"                  ? ParameterRole::head
                                       : name.ends_with("bias")                 ? ParameterRole::bias
                                       : name.find("norm") != std::string::npos ? ParameterRole::scale
                                                                                : ParameterRole::matrix;
        EXPECT_EQ(parameter.role, expected) << name << " is " << name_of(parameter.role);
    }
}

}  // namespace
}  // namespace headscope::nn
