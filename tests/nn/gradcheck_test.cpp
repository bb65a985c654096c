// Every module against central differences, in f64, with respect to its inputs and all its parameters.
#include "autograd/gradcheck.h"

#include "autograd/parallel.h"
#include "nn/layer_norm.h"
#include "nn/mlp.h"
#include "nn/per_head_attention.h"
#include "nn/rms_norm.h"
#include "nn/transformer.h"
#include "tests/nn/random_tensors.h"

namespace headscope::nn {
namespace {

/// `inputs` are checked as well, and handed to `forward`.
void expect_gradients(Module& module, std::vector<Tensor> inputs,
                      const std::function<std::vector<Tensor>(const std::vector<Tensor>&)>& forward) {
    set_num_threads(1);  // thousands of tiny passes; the number of threads has tests of its own
    module.to(DType::f64);
    randomise(module, 100);
    for (Tensor& input : inputs) input.set_requires_grad();
    for (const Parameter& parameter : module.named_parameters()) inputs.push_back(parameter.tensor);
    const GradcheckResult result = gradcheck(forward, inputs);
    EXPECT_TRUE(result.ok) << result.message;
}

Tensor input(const Shape& shape, unsigned seed) { return random_tensor(shape, seed, DType::f64); }

TEST(ModuleGradient, Linear) {
    for (const bool bias : {true, false}) {
        Linear module(4, 3, bias);
        expect_gradients(module, {input({2, 5, 4}, 1)},
                         [&](const auto& in) { return std::vector{module.forward(in[0])}; });
    }
}

TEST(ModuleGradient, Embedding) {
    Embedding module(5, 3);
    const Tensor tokens = random_tokens({2, 7}, 5, 1);
    expect_gradients(module, {}, [&](const auto&) { return std::vector{module.forward(tokens)}; });
}

TEST(ModuleGradient, LayerNorm) {
    LayerNorm module(7);
    expect_gradients(module, {input({2, 3, 7}, 1)}, [&](const auto& in) { return std::vector{module.forward(in[0])}; });
}

TEST(ModuleGradient, Dropout) {
    Dropout module(0.4, "here");
    expect_gradients(module, {input({3, 7}, 1)}, [&](const auto& in) {
        RandomScope scope(1, 2);
        return std::vector{module.forward(in[0])};
    });
}

TEST(ModuleGradient, Mlp) {
    for (const Activation activation : {Activation::gelu, Activation::relu, Activation::silu}) {
        Mlp module({.d_model = 4, .d_ff = 6, .activation = activation});
        expect_gradients(module, {input({2, 3, 4}, 1)},
                         [&](const auto& in) { return std::vector{module.forward(in[0])}; });
    }
}

// The weights are outputs too: a loss may depend on them.
TEST(ModuleGradient, CrossAttention) {
    for (const bool fused : {true, false})
        for (const Mask& mask : {Mask::none(), Mask::causal()}) {
            MultiHeadAttention module(7, 3, {.head_dim = 4, .bias = fused, .fused = fused});
            expect_gradients(module, {input({2, 3, 7}, 1), input({2, 5, 7}, 2), input({2, 5, 7}, 3)},
                             [&](const auto& in) {
                                 const auto [output, weights] = module.forward(in[0], in[1], in[2], mask);
                                 return std::vector{output, weights};
                             });
        }
}

TEST(ModuleGradient, AttentionOfEveryKind) {
    for (const bool fused : {true, false})
        for (const AttentionKind kind : {AttentionKind::softmax, AttentionKind::linear, AttentionKind::uniform})
            for (const bool rotary : {false, true})
                for (const bool alibi : {false, true}) {
                    if (alibi && (rotary || kind != AttentionKind::softmax)) continue;
                    MultiHeadAttention module(
                        5, 3, {.head_dim = 4, .fused = fused, .kind = kind, .rotary = rotary, .alibi = alibi});
                    expect_gradients(module, {input({2, 3, 5}, 1), input({2, 4, 5}, 2)}, [&](const auto& in) {
                        const auto [output, weights] = module.forward(in[0], in[1], in[1], Mask::causal());
                        return std::vector{output, weights};
                    });
                }
}

TEST(ModuleGradient, PerHeadAttention) {
    for (const bool rotary : {false, true}) {
        PerHeadAttention module(7, 3, {.head_dim = 4, .rotary = rotary, .alibi = !rotary});
        expect_gradients(module, {input({2, 3, 7}, 1), input({2, 5, 7}, 2)}, [&](const auto& in) {
            const auto [output, weights] = module.forward(in[0], in[1], in[1], Mask::causal());
            return std::vector{output, weights};
        });
    }
}

TEST(ModuleGradient, RMSNorm) {
    RMSNorm module(7);
    expect_gradients(module, {input({2, 3, 7}, 1)}, [&](const auto& in) { return std::vector{module.forward(in[0])}; });
}

TEST(ModuleGradient, AttentionWithDropout) {
    MultiHeadAttention module(6, 2, {.dropout = 0.3});
    expect_gradients(module, {input({2, 5, 6}, 1)}, [&](const auto& in) {
        RandomScope scope(1, 2);
        return std::vector{module.forward(in[0], in[0], in[0], Mask::causal(), false).output};
    });
}

TEST(ModuleGradient, Block) {
    for (const NormPlacement norm : {NormPlacement::none, NormPlacement::pre, NormPlacement::post})
        for (const std::int64_t d_ff : {0, 7}) {
            BlockOptions options;
            options.d_model = 6;
            options.num_heads = 3;
            options.d_ff = d_ff;
            options.norm = norm;
            TransformerBlock module(options);
            expect_gradients(module, {input({2, 4, 6}, 1)},
                             [&](const auto& in) { return std::vector{module.forward(in[0], Mask::causal())}; });
        }
}

TEST(ModuleGradient, TransformerAndItsLoss) {
    const Tensor tokens = random_tokens({2, 4}, 5, 1);
    Tensor targets = random_tokens({2, 4}, 5, 2);
    targets.data<std::int64_t>()[3] = -1;
    for (const PositionEncoding position :
         {PositionEncoding::none, PositionEncoding::sinusoidal, PositionEncoding::learned, PositionEncoding::rotary,
          PositionEncoding::alibi})
        for (const bool tie : {false, true}) {
            TransformerOptions options;
            options.vocab_size = 5;
            options.max_len = 6;
            options.num_layers = 2;
            options.block.d_model = 6;
            options.block.num_heads = 2;
            options.block.head_dim = 4;
            options.block.d_ff = 7;
            options.position = position;
            options.tie_embeddings = tie;
            Transformer module(options);
            expect_gradients(module, {}, [&](const auto&) {
                const Tensor logits = module.forward(tokens);
                return std::vector{logits, cross_entropy(logits, targets)};
            });
        }
}

}  // namespace
}  // namespace headscope::nn
