#include "nn/transformer_block.h"

#include "autograd/ops/arithmetic.h"
#include "nn/init.h"
#include "nn/layer_norm.h"
#include "nn/mlp.h"

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
    attention.weights = options.attention_weights;
    attention.qk_norm = options.qk_norm;
    attention.kv_heads = options.kv_heads;
    attention.rotary = options.rotary;
    attention.alibi = options.alibi;
    return attention;
}

std::unique_ptr<FeedForward> make_feed_forward(const BlockOptions& options) {
    const FeedForwardOptions own{options.d_model, options.d_ff, options.activation, options.bias,
                                 options.name + ".ffn"};
    if (options.make_ffn) return options.make_ffn(own);
    return std::make_unique<Mlp>(own);
}

}  // namespace

std::unique_ptr<Norm> make_norm(const BlockOptions& options) {
    if (options.make_norm) return options.make_norm(options.d_model);
    return std::make_unique<LayerNorm>(options.d_model);
}

TransformerBlock::TransformerBlock(const BlockOptions& options)
    : attn(deferred<MultiHeadAttention>(options.d_model, options.num_heads, attention_options(options))),
      input(options.name + ".input"),
      middle(options.name + ".middle"),
      output(options.name + ".output"),
      norm_(options.norm),
      name_(options.name),
      attn_dropout_(options.dropout, options.name + ".attn_dropout"),
      ffn_dropout_(options.dropout, options.name + ".ffn_dropout") {
    const bool has_norm = norm_ != NormPlacement::none;
    register_point("input", input);
    register_point("middle", middle);
    register_point("output", output);
    if (has_norm) {
        const DeferInit defer;
        norm1 = make_norm(options);
        register_module("norm1", *norm1);
    }
    register_module("attn", attn);
    register_module("attn_dropout", attn_dropout_);
    if (options.d_ff != 0) {
        const DeferInit defer;
        if (has_norm) {
            norm2 = make_norm(options);
            register_module("norm2", *norm2);
        }
        ffn = make_feed_forward(options);
        register_module("ffn", *ffn);
        register_module("ffn_dropout", ffn_dropout_);
    }
    initialize_new(*this);
}

Tensor TransformerBlock::forward(const Tensor& given, const Mask& mask) {
    // base + branch(y), where each branch ends in dropout; without it, its last product adds the base itself.
    const auto attend = [&](const Tensor& base, const Tensor& y) {
        if (!attn_dropout_.is_active()) return middle.pass(attn.forward(y, y, y, mask, false, base).output);
        return middle.pass(base + attn_dropout_.forward(attn.forward(y, y, y, mask, false).output));
    };
    const auto feed = [&](const Tensor& base, const Tensor& y) {
        if (!ffn_dropout_.is_active()) return ffn->forward(y, base);
        return base + ffn_dropout_.forward(ffn->forward(y));
    };
    const Tensor x = input.pass(given);
    switch (norm_) {
        case NormPlacement::none: {
            const Tensor y = attend(x, x);
            return output.pass(ffn ? feed(y, y) : y);
        }
        case NormPlacement::pre: {
            const Tensor y = attend(x, norm1->forward(x));
            return output.pass(ffn ? feed(y, norm2->forward(y)) : y);
        }
        case NormPlacement::post: {
            const Tensor y = norm1->forward(attend(x, x));
            return output.pass(ffn ? norm2->forward(feed(y, y)) : y);
        }
    }
    throw Error("TransformerBlock: no such norm placement");
}

Sizes TransformerBlock::outline(Outline& outline, const Sizes& x, const std::string& over) const {
    const char* const stream = "(B, T, d)";
    const auto normalise = [&](const Norm& norm, const char* name) {
        outline.step(name_ + "." + name, stream, norm.outline(outline, x));
    };
    outline.keep(count_of(x));  // the residual stream before each half
    if (norm_ == NormPlacement::pre) normalise(*norm1, "norm1");
    attn.outline(outline, x, over);
    outline.step("  + residual", stream, x);
    if (norm_ == NormPlacement::post) normalise(*norm1, "norm1");
    if (!ffn) return x;
    outline.keep(count_of(x));
    if (norm_ == NormPlacement::pre) normalise(*norm2, "norm2");
    ffn->outline(outline, name_ + ".ffn", x);
    outline.step("  + residual", stream, x);
    if (norm_ == NormPlacement::post) normalise(*norm2, "norm2");
    return x;
}

}  // namespace headscope::nn
