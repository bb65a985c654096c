#pragma once

#include <memory>
#include <string>

#include "nn/dropout.h"
#include "nn/feed_forward.h"
#include "nn/layer_norm.h"
#include "nn/multi_head_attention.h"

namespace headscope::nn {

enum class NormPlacement { none, pre, post };

struct BlockOptions {
    std::int64_t d_model = 64;
    std::int64_t num_heads = 4;
    std::int64_t head_dim = 0;  ///< 0: d_model / num_heads
    std::int64_t d_ff = 256;    ///< 0: attention only, no norm2
    Activation activation = Activation::gelu;
    NormPlacement norm = NormPlacement::pre;
    bool bias = true;            ///< false: no Linear has one, those of the attention included
    bool attention_bias = true;  ///< of W_q, W_k, W_v, W_o
    double dropout = 0;          ///< on the weights and on each branch's output
    AttentionKind attention = AttentionKind::softmax;
    AttentionFunction custom_attention = {};  ///< when set, called in place of the built-in kinds
    bool rotary = false;                      ///< positions by turning q and k
    bool alibi = false;                       ///< positions by what is added to the scores
    std::string name = "block";               ///< path of the block: names its dropout streams
};

/// pre:  x += attn(norm1(x)); x += ffn(norm2(x)).   post: x = norm1(x + attn(x)); x = norm2(x + ffn(x)).
/// none: no norm. Children norm1, attn, norm2, ffn (those that exist).
class TransformerBlock : public Module {
public:
    explicit TransformerBlock(const BlockOptions& options);
    /// x [B, T, d_model] -> the same shape
    Tensor forward(const Tensor& x, const Mask& mask);

    std::unique_ptr<LayerNorm> norm1;  ///< null when norm is none
    MultiHeadAttention attn;
    std::unique_ptr<LayerNorm> norm2;  ///< null when norm is none or d_ff is 0
    std::unique_ptr<FeedForward> ffn;  ///< null when d_ff is 0

private:
    NormPlacement norm_;
    Dropout attn_dropout_, ffn_dropout_;
};

}  // namespace headscope::nn
