// Multi-head attention as textbooks write it: every head has small matrices of its own (Vaswani et al. 2017). Slower
// than MultiHeadAttention, which puts the heads' matrices side by side in one; the two compute the same, and train to
// the same weights under every optimizer that works element by element.
#pragma once

#include <memory>
#include <vector>

#include "nn/multi_head_attention.h"

namespace headscope::nn {

/// Children heads.<h>.W_q, heads.<h>.W_k, heads.<h>.W_v [d_k, d_model] and W_o
/// [d_model, H*d_k].
class PerHeadAttention : public Module {
public:
    /// Takes the options of MultiHeadAttention, and throws on the same ones. Dropout draws other numbers than there.
    PerHeadAttention(std::int64_t d_model, std::int64_t num_heads, const AttentionModuleOptions& options = {});

    /// query [B, Tq, d_model]; key, value [B, Tk, d_model].
    /// Returns output [B, Tq, d_model] and attention_weights [B, H, Tq, Tk].
    MultiHeadAttention::Result forward(const Tensor& query, const Tensor& key, const Tensor& value,
                                       const Mask& mask = Mask::none(), bool need_weights = true);

    std::int64_t d_model() const { return d_model_; }
    std::int64_t num_heads() const { return static_cast<std::int64_t>(heads.size()); }
    std::int64_t head_dim() const { return head_dim_; }
    const AttentionModuleOptions& options() const { return options_; }

    struct Head {
        Linear W_q, W_k, W_v;
    };
    std::vector<std::unique_ptr<Head>> heads;
    Linear W_o;

private:
    std::int64_t d_model_, head_dim_;
    AttentionModuleOptions options_;
};

/// The other form with the same weights, in storage of its own, and the same dtype and options.
std::unique_ptr<PerHeadAttention> to_per_head(const MultiHeadAttention& attention);
std::unique_ptr<MultiHeadAttention> from_per_head(const PerHeadAttention& attention);

}  // namespace headscope::nn
