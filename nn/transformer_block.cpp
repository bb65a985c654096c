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
    attention.rotary = options.rotary;
    attention.alibi = options.alibi;
    return attention;
}

}  // namespace

TransformerBlock::TransformerBlock(const BlockOptions& options)
    : attn(options.d_model, options.num_heads, attention_options(options)),
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
        ffn = std::make_unique<FeedForward>(options.d_model, options.d_ff, options.activation, options.bias);
        register_module("ffn", *ffn);
        register_module("ffn_dropout", ffn_dropout_);
    }
    initialize(*this, {.scheme = InitScheme::pytorch});
}

Tensor TransformerBlock::forward(const Tensor& x, const Mask& mask) {
    const auto attend = [&](const Tensor& y) {
        return attn_dropout_.forward(attn.forward(y, y, y, mask, false).output);
    };
    const auto feed = [&](const Tensor& y) { return ffn_dropout_.forward(ffn->forward(y)); };
    switch (norm_) {
        case NormPlacement::none: {
            const Tensor y = x + attend(x);
            return ffn ? y + feed(y) : y;
        }
        case NormPlacement::pre: {
            const Tensor y = x + attend(norm1->forward(x));
            return ffn ? y + feed(norm2->forward(y)) : y;
        }
        case NormPlacement::post: {
            const Tensor y = norm1->forward(x + attend(x));
            return ffn ? norm2->forward(y + feed(y)) : y;
        }
    }
    throw Error("TransformerBlock: no such norm placement");
}

}  // namespace headscope::nn
