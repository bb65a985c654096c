#include "nn/transformer_block.h"

#include "autograd/ops/arithmetic.h"
#include "nn/init.h"

namespace headscope::nn {
namespace {

AttentionModuleOptions attention_options(const BlockOptions& options) {
    AttentionModuleOptions attention;
    attention.head_dim = options.head_dim;
    attention.bias = options.bias && options.attention_bias;
    attention.dropout = options.dropout;
    attention.name = options.name + ".attn";
    attention.kind = options.attention;
    attention.custom = options.custom_attention;
    attention.rotary = options.rotary;
    attention.alibi = options.alibi;
    return attention;
}

}  // namespace

TransformerBlock::TransformerBlock(const BlockOptions& options)
    : attn(deferred<MultiHeadAttention>(options.d_model, options.num_heads, attention_options(options))),
      norm_(options.norm),
      attn_dropout_(options.dropout, options.name + ".attn_dropout"),
      ffn_dropout_(options.dropout, options.name + ".ffn_dropout") {
    const bool has_norm = norm_ != NormPlacement::none;
    if (has_norm) {
        norm1 = std::make_unique<LayerNorm>(options.d_model);
        register_module("norm1", *norm1);
    }
    register_module("attn", attn);
    register_module("attn_dropout", attn_dropout_);
    if (options.d_ff != 0) {
        if (has_norm) {
            norm2 = std::make_unique<LayerNorm>(options.d_model);
            register_module("norm2", *norm2);
        }
        const DeferInit defer;
        ffn = std::make_unique<FeedForward>(options.d_model, options.d_ff, options.activation, options.bias);
        register_module("ffn", *ffn);
        register_module("ffn_dropout", ffn_dropout_);
    }
    initialize_new(*this);
}

Tensor TransformerBlock::forward(const Tensor& x, const Mask& mask) {
    // base + branch(y), where each branch ends in dropout; without it, its last product adds the base itself.
    const auto attend = [&](const Tensor& base, const Tensor& y) {
        if (!attn_dropout_.is_active()) return attn.forward(y, y, y, mask, false, base).output;
        return base + attn_dropout_.forward(attn.forward(y, y, y, mask, false).output);
    };
    const auto feed = [&](const Tensor& base, const Tensor& y) {
        if (!ffn_dropout_.is_active()) return ffn->forward(y, base);
        return base + ffn_dropout_.forward(ffn->forward(y));
    };
    switch (norm_) {
        case NormPlacement::none: {
            const Tensor y = attend(x, x);
            return ffn ? feed(y, y) : y;
        }
        case NormPlacement::pre: {
            const Tensor y = attend(x, norm1->forward(x));
            return ffn ? feed(y, norm2->forward(y)) : y;
        }
        case NormPlacement::post: {
            const Tensor y = norm1->forward(attend(x, x));
            return ffn ? norm2->forward(feed(y, y)) : y;
        }
    }
    throw Error("TransformerBlock: no such norm placement");
}

}  // namespace headscope::nn
