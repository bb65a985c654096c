// A decoder: tokens in, logits out.
#pragma once

#include <memory>
#include <vector>

#include "nn/embedding.h"
#include "nn/position.h"
#include "nn/transformer_block.h"

namespace headscope::nn {

/// Sinusoidal, learned and custom positions are added to the embedding; rotary and alibi act inside every attention.
enum class PositionEncoding { none, sinusoidal, learned, rotary, alibi, custom };

struct TransformerOptions {
    std::int64_t vocab_size = 0;
    std::int64_t max_len = 0;     ///< rows of position.weight; longest input when positions are learned
    std::int64_t num_layers = 2;  ///< 0: the embedding is read out at once
    BlockOptions block;           ///< its `name`, `rotary` and `alibi` are set by the Transformer
    PositionEncoding position = PositionEncoding::learned;
    CustomPosition custom_position = {};  ///< for PositionEncoding::custom
    bool causal = true;
    std::int64_t window = 0;      ///< 0: all; else a query sees itself and so many keys before it less one; causal only
    bool tie_embeddings = false;  ///< no head.weight: the logits use embedding.weight

    /// The width of a head.
    std::int64_t head_dim() const { return block.head_dim > 0 ? block.head_dim : block.d_model / block.num_heads; }
    /// How many keys query `i` of `length` may see.
    std::int64_t visible_keys(std::int64_t i, std::int64_t length) const {
        if (!causal) return length;
        return window > 0 && window < i + 1 ? window : i + 1;
    }
};

/// tokens -> embedding (+ position.weight, or fixed sines) -> dropout -> blocks -> norm (pre-norm only) -> head.
/// Parameters: embedding.weight [V, d], position.weight [max_len, d] (or a custom scheme's position.*),
/// blocks.<l>.{norm1,attn,norm2,ffn}.*, norm.*, head.weight [V, d].
/// Points: embedded; blocks.<l>.input, .attn.{q,k,v,scores,weights,heads,output}, .middle, .ffn.{hidden,output},
/// .output; logits.
class Transformer : public Module {
public:
    /// Throws Error when custom positions cannot be built or have another number of parameters than said, or when a
    /// window is set in a model that is not causal.
    explicit Transformer(const TransformerOptions& options);
    /// tokens i64 [B, T], T <= max_len where positions are learned -> logits [B, T, V].
    Tensor forward(const Tensor& tokens);

    const TransformerOptions& options() const { return options_; }
    std::int64_t num_layers() const { return static_cast<std::int64_t>(blocks.size()); }

    Embedding embedding;
    std::unique_ptr<Embedding> position;              ///< learned positions only
    std::unique_ptr<PositionScheme> custom_position;  ///< custom positions only
    std::vector<std::unique_ptr<TransformerBlock>> blocks;
    std::unique_ptr<Norm> norm;    ///< pre-norm only
    std::unique_ptr<Linear> head;  ///< null when tied

    Point embedded;  ///< [B, T, d]: embedding plus position, after dropout
    Point logits;    ///< [B, T, V]

private:
    friend struct ModelOutline;
    /// tokens [B, T] -> embedding plus position, after dropout [B, T, d]
    Tensor embed(const Tensor& tokens);
    Mask mask(std::int64_t length);
    /// forward() in sizes, with so many layers like the first one.
    void outline(Outline& outline, const Sizes& tokens, std::int64_t layers) const;

    TransformerOptions options_;
    Dropout dropout_;
    Tensor sines_;      ///< of the last length asked for, sinusoidal positions only
    Mask window_mask_;  ///< of the last length asked for, with a window only
    std::int64_t window_length_ = -1;
};

/// What a model of given options is, told by its modules, built without storage. Of the blocks, which are all alike,
/// one stands for all. Everything that could be too large for 64 bits is a double.
struct ModelOutline {
    /// For a batch of token sequences [batch, length]. Throws Error when a size is too large to count in 64 bits.
    ModelOutline(const TransformerOptions& options, std::int64_t batch, std::int64_t length);

    /// Trainable values by part of the model, in the order of the walk: "embedding", "2 x block: attn", ...
    struct Part {
        std::string name;
        double parameters;
    };
    std::vector<Part> parts;
    double parameters = 0;
    std::vector<Outline::Step> steps;  ///< the dimension walk from tokens to logits
    double kept = 0;                   ///< values that the forward pass keeps for the backward pass, logits left out
    /// Floating-point operations of a step's matrix products, forward and backward, with full (not causal) attention.
    /// Backward costs twice as much as forward; a multiplication with its addition is two operations.
    double flops = 0;
};

}  // namespace headscope::nn
