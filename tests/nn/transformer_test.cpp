#include "nn/transformer.h"

#include "nn/init.h"
#include "nn/layer_norm.h"
#include "nn/mlp.h"
#include "tests/nn/random_tensors.h"

namespace headscope::nn {
namespace {

TransformerOptions small() {
    TransformerOptions options;
    options.vocab_size = 7;
    options.max_len = 6;
    options.num_layers = 2;
    options.block.d_model = 10;
    options.block.num_heads = 2;
    options.block.d_ff = 9;
    return options;
}

/// Calls body(options) for norm x d_ff x causal x bias x attention_bias x tie.
template <class Body>
void for_each_option(Body&& body) {
    for (const NormPlacement norm : {NormPlacement::none, NormPlacement::pre, NormPlacement::post})
        for (const std::int64_t d_ff : {0, 9})
            for (const int bits : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}) {
                TransformerOptions options = small();
                options.block.norm = norm;
                options.block.d_ff = d_ff;
                options.causal = (bits & 1) != 0;
                options.block.bias = (bits & 2) != 0;
                options.block.attention_bias = (bits & 4) != 0;
                options.tie_embeddings = (bits & 8) != 0;
                SCOPED_TRACE("norm " + std::to_string(static_cast<int>(norm)) + ", d_ff " + std::to_string(d_ff) +
                             ", bits " + std::to_string(bits));
                body(options);
            }
}

TEST(Transformer, EveryParameterGetsAGradient) {
    for_each_option([](const TransformerOptions& options) {
        Transformer model(options);
        const Tensor logits = model.forward(random_tokens({3, 5}, 7, 1));
        ASSERT_EQ(logits.shape().str(), "[3, 5, 7]");
        backward(cross_entropy(logits, random_tokens({3, 5}, 7, 2)));
        double most = 0;
        for (const auto& [name, tensor, role] : model.named_parameters()) most = std::max(most, largest(tensor.grad()));
        for (const auto& [name, tensor, role] : model.named_parameters()) {
            // The same number added to all scores of a query changes no weight, so W_k's bias cannot matter.
            if (name.ends_with("W_k.bias")) EXPECT_LT(largest(tensor.grad()), 1e-6 * most) << name;
            else EXPECT_GT(largest(tensor.grad()), 0) << name;
        }
    });
}

TEST(Transformer, CountParameters) {
    const auto expect_count = [](const TransformerOptions& options) {
        std::int64_t count = 0;
        for (const Parameter& parameter : Transformer(options).named_parameters()) count += parameter.tensor.numel();
        EXPECT_EQ(ModelOutline(options, 2, 5).parameters, static_cast<double>(count));
    };
    for_each_option([&](TransformerOptions options) {
        expect_count(options);
        options.block.head_dim = 3;
        options.num_layers = 3;
        for (const PositionEncoding position :
             {PositionEncoding::sinusoidal, PositionEncoding::none, PositionEncoding::alibi}) {
            options.position = position;
            expect_count(options);
        }
        options.block.head_dim = 4;
        options.position = PositionEncoding::rotary;
        options.block.attention = AttentionKind::linear;
        expect_count(options);
    });
}

TEST(Transformer, BiasFlags) {
    TransformerOptions options = small();
    options.block.attention_bias = false;
    const Transformer some(options);
    EXPECT_FALSE(some.blocks[0]->attn.W_q.bias.defined());
    EXPECT_FALSE(some.blocks[0]->attn.W_o.bias.defined());
    EXPECT_TRUE(dynamic_cast<Mlp&>(*some.blocks[0]->ffn).linear1.bias.defined());
    options.block.attention_bias = true;
    options.block.bias = false;
    const Transformer none(options);
    EXPECT_FALSE(none.blocks[0]->attn.W_q.bias.defined());
    EXPECT_FALSE(dynamic_cast<Mlp&>(*none.blocks[0]->ffn).linear2.bias.defined());
    EXPECT_TRUE(dynamic_cast<LayerNorm&>(*none.blocks[0]->norm1).bias.defined());
    EXPECT_FALSE(none.head->bias.defined());
}

TEST(Transformer, CausalModelsDoNotSeeTheFuture) {
    for_each_option([](const TransformerOptions& options) {
        Transformer model(options);
        const Tensor tokens = random_tokens({2, 6}, 7, 1);
        Tensor changed = tokens.clone();
        constexpr std::int64_t at = 3;
        for (std::int64_t b = 0; b < 2; ++b) {
            std::int64_t& token = changed.data<std::int64_t>()[b * 6 + at];
            token = (token + 1) % 7;
        }
        const Tensor before = model.forward(tokens), after = model.forward(changed);
        for (std::int64_t b = 0; b < 2; ++b)
            for (std::int64_t t = 0; t < 6; ++t) {
                bool same = true;
                for (std::int64_t c = 0; c < 7; ++c) same &= before.at({b, t, c}) == after.at({b, t, c});
                EXPECT_EQ(same, options.causal && t < at) << b << " " << t;
            }
    });
}

/// No layers, no norm, head = identity: the logits are what goes into the first block.
Tensor embedded(PositionEncoding position, const Tensor& tokens, DType dtype) {
    TransformerOptions options = small();
    options.vocab_size = 10;
    options.num_layers = 0;
    options.block.norm = NormPlacement::none;
    options.position = position;
    Transformer model(options);
    model.to(dtype);
    model.embedding.weight.copy_(random_tensor({10, 10}, 1, dtype));
    if (model.position) model.position->weight.copy_(random_tensor({6, 10}, 2, dtype));
    Tensor identity = Tensor::zeros({10, 10}, DType::f64);
    for (std::int64_t i = 0; i < 10; ++i) identity.data<double>()[i * 11] = 1;
    model.head->weight.copy_(identity.to(dtype));
    return model.forward(tokens);
}

TEST(Transformer, Positions) {
    const Tensor tokens = random_tokens({2, 5}, 10, 3);
    for (const DType dtype : {DType::f64, DType::f32}) {
        const double tolerance = dtype == DType::f64 ? 1e-14 : 1e-6;
        const Tensor rows = random_tensor({10, 10}, 1, dtype), table = random_tensor({6, 10}, 2, dtype);
        const Tensor none = embedded(PositionEncoding::none, tokens, dtype);
        const Tensor learned = embedded(PositionEncoding::learned, tokens, dtype);
        const Tensor sines = embedded(PositionEncoding::sinusoidal, tokens, dtype);
        for (std::int64_t b = 0; b < 2; ++b)
            for (std::int64_t t = 0; t < 5; ++t)
                for (std::int64_t i = 0; i < 10; ++i) {
                    const double own = rows.at({tokens.data<std::int64_t>()[b * 5 + t], i});
                    const double angle = double(t) / std::pow(10000.0, double(i / 2 * 2) / 10);
                    EXPECT_NEAR(none.at({b, t, i}), own, tolerance);
                    EXPECT_NEAR(learned.at({b, t, i}), own + table.at({t, i}), tolerance);
                    EXPECT_NEAR(sines.at({b, t, i}), own + (i % 2 == 0 ? std::sin(angle) : std::cos(angle)), tolerance);
                }
    }
}

// Rotary and alibi tell the attention how far apart two tokens are, and touch nothing else.
TEST(Transformer, RelativePositionsActInsideAttention) {
    const Tensor tokens = Tensor::from({1, 4}, {3, 3, 3, 5}, DType::i64);
    TransformerOptions options = small();
    options.block.head_dim = 4;
    options.causal = false;
    const auto logits = [&](PositionEncoding position) {
        options.position = position;
        Transformer model(options);
        randomise(model, 1);
        EXPECT_EQ(model.position, nullptr);
        EXPECT_EQ(model.state_dict().count("position.weight"), 0U);
        EXPECT_EQ(model.forward(random_tokens({2, 9}, 7, 3)).shape().str(), "[2, 9, 7]");  // longer than max_len
        return model.forward(tokens);
    };
    const auto apart = [](const Tensor& x) {  // of the first two tokens, which are alike
        double largest = 0;
        for (std::int64_t c = 0; c < 7; ++c) largest = std::max(largest, std::abs(x.at({0, 0, c}) - x.at({0, 1, c})));
        return largest;
    };
    EXPECT_LT(apart(logits(PositionEncoding::none)), 1e-6);
    EXPECT_GT(apart(logits(PositionEncoding::rotary)), 1e-4);
    EXPECT_GT(apart(logits(PositionEncoding::alibi)), 1e-4);
}

TEST(Transformer, UniformAttentionLeavesQueriesAndKeysAlone) {
    TransformerOptions options = small();
    options.block.attention = AttentionKind::uniform;
    Transformer model(options);
    backward(cross_entropy(model.forward(random_tokens({3, 5}, 7, 1)), random_tokens({3, 5}, 7, 2)));
    for (const auto& [name, tensor, role] : model.named_parameters()) {
        ASSERT_TRUE(tensor.grad().defined()) << name;
        const bool unused = name.find("W_q") != std::string::npos || name.find("W_k") != std::string::npos;
        EXPECT_EQ(largest(tensor.grad()) == 0, unused) << name;
    }
}

TEST(Transformer, SinesFollowLengthAndDtype) {
    TransformerOptions options = small();
    options.position = PositionEncoding::sinusoidal;
    Transformer model(options);
    const Tensor tokens = random_tokens({2, 9}, 7, 3);  // longer than max_len: there is no table to outgrow
    EXPECT_EQ(model.forward(tokens).shape().str(), "[2, 9, 7]");
    EXPECT_EQ(model.forward(random_tokens({2, 4}, 7, 3)).shape().str(), "[2, 4, 7]");
    const Tensor before = model.forward(tokens);
    model.to(DType::f64);
    EXPECT_LT(distance(model.forward(tokens), before), 1e-5);
}

TEST(Transformer, TiedLogitsUseTheEmbedding) {
    TransformerOptions options = small();
    options.num_layers = 0;
    options.block.norm = NormPlacement::none;
    options.position = PositionEncoding::none;
    options.tie_embeddings = true;
    Transformer model(options);
    EXPECT_EQ(model.head, nullptr);
    model.to(DType::f64);
    const Tensor tokens = random_tokens({2, 5}, 7, 3), weight = model.embedding.weight.detach();
    const Tensor expected = matmul(embedding(weight, tokens), weight, false, true);
    EXPECT_LT(distance(model.forward(tokens), expected), 1e-14);
}

TEST(Transformer, WithoutLayersTheEmbeddingIsReadOut) {
    TransformerOptions options{.vocab_size = 5, .max_len = 6, .num_layers = 0, .block = {.d_model = 6, .num_heads = 2}};
    Transformer model(options);
    randomise(model, 3);
    const Tensor tokens = random_tokens({2, 4}, 5, 1);
    Tensor embedded;
    const Guest look = model.embedded.look([&](const Tensor& seen) { embedded = seen; });
    const Tensor logits = model.forward(tokens);
    EXPECT_TRUE(same_bits(logits, model.head->forward(model.norm->forward(embedded))));
}

TEST(Transformer, AWindowFollowsTheLength) {
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

TEST(Transformer, Errors) {
    Transformer model(small());
    const std::string message = error_of([&] { model.forward(random_tokens({2, 8}, 7, 1)); });
    EXPECT_HAS(message, "[2, 8]");
    EXPECT_HAS(message, "[6, 10]");
    EXPECT_HAS(message, "max_len");
    EXPECT_HAS(error_of([&] { model.forward(Tensor::full({2, 3}, 7, DType::i64)); }), "7");
    EXPECT_HAS(error_of([&] { model.forward(Tensor::full({3}, 1, DType::i64)); }), "[3]");
    TransformerOptions options = small();
    options.vocab_size = 0;
    EXPECT_HAS(error_of([&] { Transformer wrong(options); }), "count is 0");
}

}  // namespace
}  // namespace headscope::nn
