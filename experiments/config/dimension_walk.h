// The shape of every tensor on its way through a model:
// (B, T) -> (B, T, d) -> (B, H, T, d_k) -> (B, H, T, T) -> (B, T, d) -> (B, T, V).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/transformer.h"

namespace headscope::experiments {

/// Sizes of a tensor's axes; unlike a Shape they may be of a tensor too large to count.
using Sizes = std::vector<std::int64_t>;

/// The shapes that the steps of a walk are made of. Of the blocks, which are all alike, the first stands for all.
struct WalkShapes {
    Sizes tokens, embedded, normed, q, k, v, weights, head_out, attention_out, hidden, ffn_out, logits;
};

/// Read off a forward pass of the model over tokens [B, T].
WalkShapes measure_shapes(nn::Transformer& model, const Tensor& tokens);
/// What a model of these options would give, without building it.
WalkShapes compute_shapes(const nn::TransformerOptions& options, std::int64_t batch, std::int64_t length);

struct WalkStep {
    std::string name;     ///< "blocks.0.attn.W_q"
    std::string symbols;  ///< "(B, T, H*d_k)"
    Sizes sizes;
    std::string note;  ///< what happens there
};

/// The steps from tokens to logits. The first axis of all shapes becomes `batch`: the sequences of a batch go through
/// side by side, so a walk with one of them tells the rest.
std::vector<WalkStep> dimension_walk(const nn::TransformerOptions& options, const WalkShapes& shapes,
                                     std::int64_t batch);

/// Trainable values by part of the model, in the order of the walk; together nn::count_parameters.
struct ParameterGroupCount {
    std::string name;
    double count;
};
std::vector<ParameterGroupCount> count_by_part(const nn::TransformerOptions& options);

/// Floating-point operations of a step's matrix products, forward and backward, with full (not causal) attention,
/// whichever it is:
///   6 * tokens * (weights of all Linears) + 12 * L * B * T^2 * H * d_k
/// Forward costs 2 per weight and token, and 2 * T^2 * d_k per head for each of q k^T and weights v; backward costs
/// twice as much as forward.
double flops_per_step(const nn::TransformerOptions& options, std::int64_t batch, std::int64_t length);

}  // namespace headscope::experiments
