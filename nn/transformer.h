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
    std::int64_t max_len = 0;  ///< rows of position.weight; longest input when positions are learned
    std::int64_t num_layers = 2;
    BlockOptions block;  ///< its `name`, `rotary` and `alibi` are set by the Transformer
    PositionEncoding position = PositionEncoding::learned;
    CustomPosition custom_position = {};  ///< for PositionEncoding::custom
    bool causal = true;
    bool tie_embeddings = false;  ///< no head.weight: the logits use embedding.weight
};

/// tokens -> embedding (+ position.weight, or fixed sines) -> dropout -> blocks -> norm (pre-norm only) -> head.
/// Parameters: embedding.weight [V, d], position.weight [max_len, d] (or a custom scheme's position.*),
/// blocks.<l>.{norm1,attn,norm2,ffn}.*, norm.{weight,bias}, head.weight [V, d].
class Transformer : public Module {
public:
    /// Throws Error when custom positions cannot be built or have another number of parameters than said.
    explicit Transformer(const TransformerOptions& options);
    /// tokens i64 [B, T], T <= max_len where positions are learned -> logits [B, T, V].
    Tensor forward(const Tensor& tokens);

    const TransformerOptions& options() const { return options_; }
    std::int64_t num_layers() const { return static_cast<std::int64_t>(blocks.size()); }

    Embedding embedding;
    std::unique_ptr<Embedding> position;              ///< learned positions only
    std::unique_ptr<PositionScheme> custom_position;  ///< custom positions only
    std::vector<std::unique_ptr<TransformerBlock>> blocks;
    std::unique_ptr<LayerNorm> norm;  ///< pre-norm only
    std::unique_ptr<Linear> head;     ///< null when tied

private:
    /// tokens [B, T] -> embedding plus position, after dropout [B, T, d]
    Tensor embed(const Tensor& tokens);

    TransformerOptions options_;
    Dropout dropout_;
    Tensor sines_;  ///< of the last length asked for, sinusoidal positions only
};

/// Number of trainable values, without building anything.
std::int64_t count_parameters(const TransformerOptions& options);

}  // namespace headscope::nn
