#include "nn/multi_head_attention.h"

#include <optional>

#include "nn/init.h"

namespace headscope::nn {
namespace {

std::int64_t resolve_head_dim(std::int64_t d_model, std::int64_t num_heads, std::int64_t head_dim) {
    const std::string sizes = "; d_model is " + std::to_string(d_model) + ", num_heads is " +
                              std::to_string(num_heads) + ", head_dim is " + std::to_string(head_dim);
    if (d_model < 1 || num_heads < 1 || head_dim < 0)
        throw Error("MultiHeadAttention: sizes must be at least 1" + sizes);
    if (head_dim > 0) return head_dim;
    if (d_model % num_heads != 0)
        throw Error("MultiHeadAttention: num_heads must divide d_model" + sizes + "; or set head_dim");
    return d_model / num_heads;
}

}  // namespace

MultiHeadAttention::MultiHeadAttention(std::int64_t d_model, std::int64_t num_heads,
                                       const AttentionModuleOptions& options)
    : W_q(d_model, num_heads * resolve_head_dim(d_model, num_heads, options.head_dim), options.bias),
      W_k(d_model, W_q.weight.size(0), options.bias),
      W_v(d_model, W_q.weight.size(0), options.bias),
      W_o(W_q.weight.size(0), d_model, options.bias),
      d_model_(d_model),
      num_heads_(num_heads),
      head_dim_(W_q.weight.size(0) / num_heads),
      dropout_(options.dropout),
      stream_("dropout." + options.name),
      fused_(options.fused) {
    if (!(dropout_ >= 0 && dropout_ < 1))
        throw Error("MultiHeadAttention: dropout must be in [0, 1), not " + std::to_string(dropout_));
    register_module("W_q", W_q);
    register_module("W_k", W_k);
    register_module("W_v", W_v);
    register_module("W_o", W_o);
    initialize(*this, {.scheme = InitScheme::pytorch});
}

MultiHeadAttention::Result MultiHeadAttention::forward(const Tensor& query, const Tensor& key, const Tensor& value,
                                                       const Mask& mask, bool need_weights) {
    const Tensor q = W_q.forward(query);  // [B, Tq, H*d_k]
    const Tensor k = W_k.forward(key);    // [B, Tk, H*d_k]
    const Tensor v = W_v.forward(value);  // [B, Tk, H*d_k]

    AttentionOptions options;
    options.num_heads = num_heads_;
    options.mask = mask;
    options.need_weights = need_weights || record_ != nullptr;
    std::optional<RandomStream> random;
    if (is_training() && dropout_ > 0) {
        random = RandomScope::stream(stream_);
        options.dropout = dropout_;
        options.random = &*random;
    }
    const AttentionResult heads = fused_ ? attention(q, k, v, options) : attention_unfused(q, k, v, options);
    if (record_ != nullptr)
        *record_ = {q.detach(), k.detach(), v.detach(), heads.weights.detach(), heads.output.detach()};
    return {W_o.forward(heads.output), need_weights ? heads.weights : Tensor()};
}

const char* name_of(Projection projection) {
    switch (projection) {
        case Projection::q: return "q";
        case Projection::k: return "k";
        case Projection::v: return "v";
        case Projection::o: return "o";
    }
    return "?";
}

}  // namespace headscope::nn
