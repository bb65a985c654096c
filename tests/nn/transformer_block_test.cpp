#include "nn/transformer_block.h"

#include "nn/mlp.h"
#include "tests/nn/random_tensors.h"

namespace headscope::nn {
namespace {

BlockOptions small(NormPlacement norm, std::int64_t d_ff) {
    BlockOptions options;
    options.d_model = 6;
    options.num_heads = 3;
    options.d_ff = d_ff;
    options.norm = norm;
    return options;
}

struct Parts {
    explicit Parts(TransformerBlock& block) : block_(block) { randomise(block, 20); }
    Tensor attn(const Tensor& x) const { return block_.attn.forward(x, x, x, Mask::causal()).output; }
    Tensor ffn(const Tensor& x) const { return block_.ffn->forward(x); }
    Tensor norm1(const Tensor& x) const { return block_.norm1->forward(x); }
    Tensor norm2(const Tensor& x) const { return block_.norm2->forward(x); }
    TransformerBlock& block_;
};

TEST(TransformerBlock, Pre) {
    TransformerBlock block(small(NormPlacement::pre, 7));
    const Parts parts(block);
    const Tensor x = random_tensor({2, 5, 6}, 1);
    const Tensor y = x + parts.attn(parts.norm1(x));
    EXPECT_TRUE(same_bits(block.forward(x, Mask::causal()), y + parts.ffn(parts.norm2(y))));
}

TEST(TransformerBlock, Post) {
    TransformerBlock block(small(NormPlacement::post, 7));
    const Parts parts(block);
    const Tensor x = random_tensor({2, 5, 6}, 1);
    const Tensor y = parts.norm1(x + parts.attn(x));
    EXPECT_TRUE(same_bits(block.forward(x, Mask::causal()), parts.norm2(y + parts.ffn(y))));
}

TEST(TransformerBlock, NoNorm) {
    TransformerBlock block(small(NormPlacement::none, 7));
    const Parts parts(block);
    const Tensor x = random_tensor({2, 5, 6}, 1);
    const Tensor y = x + parts.attn(x);
    EXPECT_TRUE(same_bits(block.forward(x, Mask::causal()), y + parts.ffn(y)));
    EXPECT_EQ(block.norm1, nullptr);
    EXPECT_EQ(block.norm2, nullptr);
}

TEST(TransformerBlock, AttentionOnly) {
    TransformerBlock pre(small(NormPlacement::pre, 0)), post(small(NormPlacement::post, 0));
    const Parts of_pre(pre), of_post(post);
    const Tensor x = random_tensor({2, 5, 6}, 1);
    EXPECT_TRUE(same_bits(pre.forward(x, Mask::causal()), x + of_pre.attn(of_pre.norm1(x))));
    EXPECT_TRUE(same_bits(post.forward(x, Mask::causal()), of_post.norm1(x + of_post.attn(x))));
    EXPECT_EQ(pre.norm2, nullptr);
    EXPECT_EQ(pre.ffn, nullptr);
}

TEST(Mlp, ActivationBetweenTwoLinears) {
    const Tensor x = random_tensor({2, 5, 4}, 1);
    for (const Activation activation : {Activation::gelu, Activation::relu, Activation::silu}) {
        Mlp module({.d_model = 4, .d_ff = 7, .activation = activation});
        randomise(module, 3);
        const Tensor hidden = linear(x, module.linear1.weight, module.linear1.bias);
        const Tensor active = activation == Activation::gelu   ? gelu(hidden)
                              : activation == Activation::relu ? relu(hidden)
                                                               : silu(hidden);
        EXPECT_TRUE(same_bits(module.forward(x), linear(active, module.linear2.weight, module.linear2.bias)));
    }
}

}  // namespace
}  // namespace headscope::nn
