#pragma once

#include <memory>
#include <string>

#include "nn/dropout.h"
#include "nn/feed_forward.h"
#include "nn/multi_head_attention.h"
#include "nn/norm.h"

namespace headscope::nn {

enum class NormPlacement { none, pre, post };

struct BlockOptions {
    std::int64_t d_model = 64;
    std::int64_t num_heads = 4;
    std::int64_t head_dim = 0;  ///< 0: d_model / num_heads
    std::int64_t d_ff = 256;    ///< 0: attention only, no norm2
    Activation activation = Activation::gelu;
    NormPlacement norm = NormPlacement::pre;
    NormFactory make_norm = {};        ///< empty: LayerNorm
    FeedForwardFactory make_ffn = {};  ///< empty: Mlp
    bool bias = true;                  ///< false: no Linear has one, those of the attention included
    bool attention_bias = true;        ///< of W_q, W_k, W_v, W_o
    double dropout = 0;                ///< on the weights and on each branch's output
    AttentionKind attention = AttentionKind::softmax;
    AttentionFunction custom_attention = {};  ///< when set, called in place of the built-in kinds
    WeightsFunction attention_weights = {};   ///< when set, makes the weights in place of the softmax
    bool qk_norm = false;                     ///< q and k of every head divided by their root mean square
    std::int64_t kv_heads = 0;                ///< groups of keys and values; 0: one for each head
    bool rotary = false;                      ///< positions by turning q and k
    bool alibi = false;                       ///< positions by what is added to the scores
    std::string name = "block";               ///< path of the block: names its dropout streams and its points
};

/// The norm that the options choose, for d_model values.
std::unique_ptr<Norm> make_norm(const BlockOptions& options);

/// pre:  x += attn(norm1(x)); x += ffn(norm2(x)).   post: x = norm1(x + attn(x)); x = norm2(x + ffn(x)).
/// none: no norm. Children norm1, attn, norm2, ffn (those that exist).
class TransformerBlock : public Module {
public:
    explicit TransformerBlock(const BlockOptions& options);
    /// x [B, T, d_model] -> the same shape
    Tensor forward(const Tensor& x, const Mask& mask);
    /// The same in sizes. `over`: what attention weights are taken over, " over the past".
    Sizes outline(Outline& outline, const Sizes& x, const std::string& over) const;

    std::unique_ptr<Norm> norm1;  ///< null when norm is none
    MultiHeadAttention attn;
    std::unique_ptr<Norm> norm2;       ///< null when norm is none or d_ff is 0
    std::unique_ptr<FeedForward> ffn;  ///< null when d_ff is 0

    Point input;   ///< x
    Point middle;  ///< [B, T, d_model]: x plus the attention's output, before norm1 where norm is post
    Point output;  ///< what forward returns

private:
    NormPlacement norm_;
    std::string name_;
    Dropout attn_dropout_, ffn_dropout_;
};

}  // namespace headscope::nn
