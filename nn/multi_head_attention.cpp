#include "nn/multi_head_attention.h"

#include <optional>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/linear.h"
#include "autograd/ops/rotary.h"
#include "nn/init.h"

namespace headscope::nn {
namespace {

/// Throws Error unless an edit kept shape and dtype.
void check_edited(const char* function, const Tensor& given, const Tensor& returned) {
    if (returned.defined() && returned.shape() == given.shape() && returned.dtype() == given.dtype()) return;
    const auto describe = [](const Tensor& tensor) {
        return tensor.shape().str() + " " + std::string(headscope::name_of(tensor.dtype()));
    };
    throw Error(std::string("AttentionEdit: `") + function + "` must keep shape and dtype; it was given " +
                describe(given) + (returned.defined() ? ", it returned " + describe(returned) : ", it returned none"));
}

}  // namespace

std::int64_t resolve_head_dim(const char* module, std::int64_t d_model, std::int64_t num_heads, std::int64_t head_dim) {
    const std::string sizes = "; d_model is " + std::to_string(d_model) + ", num_heads is " +
                              std::to_string(num_heads) + ", head_dim is " + std::to_string(head_dim);
    if (d_model < 1 || num_heads < 1 || head_dim < 0) throw Error(module + (": sizes must be at least 1" + sizes));
    if (head_dim > 0) return head_dim;
    if (d_model % num_heads != 0)
        throw Error(module + (": num_heads must divide d_model" + sizes + "; or set head_dim"));
    return d_model / num_heads;
}

void check_attention_options(const char* module, const AttentionModuleOptions& options, std::int64_t head_dim) {
    const std::string name = module;
    if (!(options.dropout >= 0 && options.dropout < 1))
        throw Error(name + ": dropout must be in [0, 1), not " + std::to_string(options.dropout));
    if (options.rotary && head_dim % 2 != 0)
        throw Error(name + ": rotary positions turn pairs and need an even head_dim; head_dim is " +
                    std::to_string(head_dim));
    if (options.alibi && options.kind != AttentionKind::softmax)
        throw Error(name + ": alibi is added to the scores of a softmax; linear and uniform attention have none");
}

AttentionResult attend(const AttentionModuleOptions& module_options, const Tensor& q, const Tensor& k, const Tensor& v,
                       const AttentionOptions& options) {
    if (!module_options.custom)
        return module_options.fused ? attention(q, k, v, options) : attention_unfused(q, k, v, options);
    const AttentionResult result = module_options.custom(q, k, v, options);
    const auto check = [](const char* name, const Tensor& returned, const Shape& promised) {
        if (returned.defined() && returned.shape() == promised) return;
        throw Error(std::string("attend: a custom attention must return ") + name + " of shape " + promised.str() +
                    (returned.defined() ? ", not " + returned.shape().str() : ", and returned none"));
    };
    check("output", result.output, {q.size(0), q.size(1), v.size(2)});
    if (options.need_weights) check("weights", result.weights, {q.size(0), options.num_heads, q.size(1), k.size(1)});
    return result;
}

AttentionRecord AttentionRecord::detached() const {
    return {false, q.detach(), k.detach(), v.detach(), weights.detach(), head_out.detach(), output.detach()};
}

MultiHeadAttention::MultiHeadAttention(std::int64_t d_model, std::int64_t num_heads,
                                       const AttentionModuleOptions& options)
    : W_q(deferred<Linear>(d_model,
                           num_heads * resolve_head_dim("MultiHeadAttention", d_model, num_heads, options.head_dim),
                           options.bias)),
      W_k(deferred<Linear>(d_model, W_q.weight.size(0), options.bias)),
      W_v(deferred<Linear>(d_model, W_q.weight.size(0), options.bias)),
      W_o(deferred<Linear>(W_q.weight.size(0), d_model, options.bias)),
      d_model_(d_model),
      num_heads_(num_heads),
      head_dim_(W_q.weight.size(0) / num_heads),
      options_(options) {
    check_attention_options("MultiHeadAttention", options, head_dim_);
    register_module("W_q", W_q);
    register_module("W_k", W_k);
    register_module("W_v", W_v);
    register_module("W_o", W_o);
    initialize_new(*this);
}

std::array<Tensor, 3> MultiHeadAttention::project(const Tensor& query, const Tensor& key, const Tensor& value) const {
    if (query.id() == key.id() && key.id() == value.id())
        return linear_three(query, {W_q.weight, W_k.weight, W_v.weight}, {W_q.bias, W_k.bias, W_v.bias});
    return {W_q.forward(query), W_k.forward(key), W_v.forward(value)};
}

Tensor MultiHeadAttention::speak(const Tensor& heads, const Tensor& residual) const {
    if (!edit_.output) return linear(heads, W_o.weight, W_o.bias, residual);
    const Tensor output = linear(heads, W_o.weight, W_o.bias);
    const Tensor edited = edit_.output(heads, output);
    check_edited("output", output, edited);
    return residual.defined() ? residual + edited : edited;
}

MultiHeadAttention::Result MultiHeadAttention::forward(const Tensor& query, const Tensor& key, const Tensor& value,
                                                       const Mask& mask, bool need_weights, const Tensor& residual) {
    auto [q, k, v] = project(query, key, value);
    if (options_.rotary) {
        q = rotary(q, num_heads_);
        k = rotary(k, num_heads_);
    }

    AttentionOptions options;
    options.num_heads = num_heads_;
    options.mask = mask;
    options.need_weights = need_weights || record_ != nullptr;
    options.kind = options_.kind;
    options.alibi = options_.alibi;
    std::optional<RandomStream> random;
    if (is_training() && options_.dropout > 0) {
        random = RandomScope::stream("dropout." + options_.name);
        options.dropout = options_.dropout;
        options.random = &*random;
    }
    AttentionResult heads = attend(options_, q, k, v, options);
    if (gates_ != nullptr) heads.output = gates_->forward(heads.output);
    if (edit_.heads) {
        const Tensor edited = edit_.heads(heads.output);
        check_edited("heads", heads.output, edited);
        heads.output = edited;
    }
    const Tensor output = speak(heads.output, residual);
    if (record_ != nullptr) {
        const AttentionRecord all{record_->in_graph, q, k, v, heads.weights, heads.output, output};
        *record_ = record_->in_graph ? all : all.detached();
    }
    return {output, need_weights ? heads.weights : Tensor()};
}

void MultiHeadAttention::use_gates(HeadGates* gates) {
    if (gates != nullptr && gates->num_heads() != num_heads_)
        throw Error("MultiHeadAttention: there must be a gate per head; num_heads is " + std::to_string(num_heads_) +
                    ", the gates are " + gates->weight.shape().str());
    gates_ = gates;
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
