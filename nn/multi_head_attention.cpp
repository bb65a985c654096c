#include "nn/multi_head_attention.h"

#include <algorithm>
#include <optional>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/indexing.h"
#include "autograd/ops/linear.h"
#include "autograd/ops/rms_norm.h"
#include "autograd/ops/rotary.h"
#include "autograd/ops/shaping.h"
#include "nn/init.h"

namespace headscope::nn {
namespace {

/// x [B, T, G*d] -> [B, T, H*d]: for each head a copy of the group that it reads.
Tensor repeat_groups(const Tensor& x, std::int64_t groups, const MultiHeadAttention& attention) {
    const std::int64_t heads = attention.num_heads(), batch = x.size(0), length = x.size(1), width = x.size(2) / groups;
    if (heads % groups == 0) {
        const Tensor split = reshape(x, {batch, length, groups, 1, width});
        const Tensor repeated = broadcast_to(split, {batch, length, groups, heads / groups, width});
        return reshape(repeated, {batch, length, heads * width});
    }
    std::vector<Tensor> parts;
    for (std::int64_t h = 0; h < heads; ++h) {
        const std::int64_t group = attention.kv_head_of(h);
        parts.push_back(slice(x, 2, group * width, (group + 1) * width));
    }
    return concat(parts, 2);
}

const char* scores_note(const AttentionModuleOptions& options) {
    if (options.custom) return "as the chosen attention has them";
    switch (options.kind) {
        case AttentionKind::linear: return "phi(q) phi(k)^T, phi = elu + 1";
        case AttentionKind::uniform: return "none; q and k are not used";
        case AttentionKind::softmax: break;
    }
    return options.alibi ? "q k^T / sqrt(d_k) - slope |i - j|" : "q k^T / sqrt(d_k)";
}

std::string weights_note(const AttentionModuleOptions& options, const std::string& over) {
    if (options.custom || options.weights) return "as the chosen attention has them";
    switch (options.kind) {
        case AttentionKind::linear: return "scores / their sum" + over;
        case AttentionKind::uniform: return "all equal" + over;
        case AttentionKind::softmax: break;
    }
    return "softmax" + over;
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

void check_attention_options(const char* module, const AttentionModuleOptions& options, std::int64_t num_heads,
                             std::int64_t head_dim) {
    const std::string name = module;
    if (!(options.dropout >= 0 && options.dropout < 1))
        throw Error(name + ": dropout must be in [0, 1), not " + std::to_string(options.dropout));
    if (options.rotary && head_dim % 2 != 0)
        throw Error(name + ": rotary positions turn pairs and need an even head_dim; head_dim is " +
                    std::to_string(head_dim));
    if (options.alibi && options.kind != AttentionKind::softmax)
        throw Error(name + ": alibi is added to the scores of a softmax; linear and uniform attention have none");
    if (options.kv_heads < 0 || options.kv_heads > num_heads)
        throw Error(name + ": kv_heads must be at most num_heads, or 0; kv_heads is " +
                    std::to_string(options.kv_heads) + ", num_heads is " + std::to_string(num_heads));
    if (options.custom && options.weights) throw Error(name + ": give `custom` or `weights`, not both");
}

bool has_scores(const AttentionModuleOptions& options) {
    return !options.custom && options.kind == AttentionKind::softmax;
}

AttentionResult attend(const AttentionModuleOptions& module_options, const Tensor& q, const Tensor& k, const Tensor& v,
                       const AttentionOptions& options, const Point* scores, const Point* weights) {
    const bool scored = has_scores(module_options);
    if (scores != nullptr && scores->has_guests() && !scored)
        throw Error("point " + scores->name() + ": the chosen attention has no scores to look at or to change");
    const bool edited = (scores != nullptr && scores->has_edits()) || (weights != nullptr && weights->has_edits());
    if (edited && module_options.custom)
        throw Error("point " + weights->name() + ": the weights of a custom attention cannot be changed from outside");
    if (edited || module_options.weights) {
        AttentionResult result;
        if (scored) {
            Tensor S = attention_scores(q, k, options.num_heads);
            if (scores != nullptr) S = scores->pass(S);
            if (module_options.weights) {
                const Tensor all = options.alibi ? S + alibi_bias(S.size(2), S.size(3), options, S.dtype()) : S;
                result.weights = module_options.weights(all, visible_keys(options.mask, S.size(2), S.size(3)));
                if (!result.weights.defined() || result.weights.shape() != S.shape())
                    throw Error("attend: a weights function must return weights of the scores' shape, " +
                                S.shape().str());
            } else {
                result.weights = softmax_weights(S, options);
            }
        } else {
            result.weights = weights_without_scores(q, k, options);
        }
        if (weights != nullptr) result.weights = weights->pass(result.weights);
        result.output = apply_weights(result.weights, v, options);
        return result;
    }

    if (scores != nullptr) scores->show([&] { return attention_scores(q, k, options.num_heads); });
    const auto show_weights = [&](const AttentionResult& result) {
        if (weights != nullptr) weights->show([&] { return result.weights; });
        return result;
    };
    AttentionOptions wanted = options;
    wanted.need_weights = options.need_weights || (weights != nullptr && weights->has_looks());
    if (!module_options.custom)
        return show_weights(module_options.fused ? attention(q, k, v, wanted) : attention_unfused(q, k, v, wanted));
    const AttentionResult result = module_options.custom(q, k, v, wanted);
    const auto check = [](const char* name, const Tensor& returned, const Shape& promised) {
        if (returned.defined() && returned.shape() == promised) return;
        throw Error(std::string("attend: a custom attention must return ") + name + " of shape " + promised.str() +
                    (returned.defined() ? ", not " + returned.shape().str() : ", and returned none"));
    };
    check("output", result.output, {q.size(0), q.size(1), v.size(2)});
    if (wanted.need_weights) check("weights", result.weights, {q.size(0), options.num_heads, q.size(1), k.size(1)});
    return show_weights(result);
}

Tensor normalise_heads(const Tensor& x, std::int64_t heads) {
    const std::int64_t width = x.size(2) / heads;
    const Tensor split = reshape(x, {x.size(0), x.size(1), heads, width});
    const Tensor normalised = rms_norm(split, Tensor::full({width}, 1, x.dtype()));
    return reshape(normalised, {x.size(0), x.size(1), heads * width});
}

MultiHeadAttention::MultiHeadAttention(std::int64_t d_model, std::int64_t num_heads,
                                       const AttentionModuleOptions& options)
    : W_q(deferred<Linear>(d_model,
                           num_heads * resolve_head_dim("MultiHeadAttention", d_model, num_heads, options.head_dim),
                           options.bias)),
      W_k(deferred<Linear>(d_model,
                           (options.kv_heads > 0 ? options.kv_heads : num_heads) * (W_q.weight.size(0) / num_heads),
                           options.bias)),
      W_v(deferred<Linear>(d_model, W_k.weight.size(0), options.bias)),
      W_o(deferred<Linear>(W_q.weight.size(0), d_model, options.bias)),
      q(options.name + ".q"),
      k(options.name + ".k"),
      v(options.name + ".v"),
      scores(options.name + ".scores"),
      weights(options.name + ".weights"),
      heads(options.name + ".heads"),
      output(options.name + ".output"),
      d_model_(d_model),
      num_heads_(num_heads),
      head_dim_(W_q.weight.size(0) / num_heads),
      kv_heads_(options.kv_heads > 0 ? options.kv_heads : num_heads),
      options_(options) {
    check_attention_options("MultiHeadAttention", options, num_heads, head_dim_);
    register_module("W_q", W_q);
    register_module("W_k", W_k);
    register_module("W_v", W_v);
    register_module("W_o", W_o);
    register_point("q", q);
    register_point("k", k);
    register_point("v", v);
    register_point("scores", scores);
    register_point("weights", weights);
    register_point("heads", heads);
    register_point("output", output);
    initialize_new(*this);
}

std::array<Tensor, 3> MultiHeadAttention::project(const Tensor& query, const Tensor& key, const Tensor& value) const {
    std::array<Tensor, 3> all;
    if (query.id() == key.id() && key.id() == value.id() && kv_heads_ == num_heads_)
        all = linear_three(query, {W_q.weight, W_k.weight, W_v.weight}, {W_q.bias, W_k.bias, W_v.bias});
    else all = {W_q.forward(query), W_k.forward(key), W_v.forward(value)};
    auto& [own_q, own_k, own_v] = all;
    if (options_.qk_norm) {
        own_q = normalise_heads(own_q, num_heads_);
        own_k = normalise_heads(own_k, kv_heads_);
    }
    if (options_.rotary) {
        own_q = rotary(own_q, num_heads_);
        own_k = rotary(own_k, kv_heads_);
    }
    if (kv_heads_ != num_heads_) {
        own_k = repeat_groups(own_k, kv_heads_, *this);
        own_v = repeat_groups(own_v, kv_heads_, *this);
    }
    return {q.pass(own_q), k.pass(own_k), v.pass(own_v)};
}

Tensor MultiHeadAttention::project_output(const Tensor& head_outputs, const Tensor& residual) const {
    if (output.has_edits()) {
        const Tensor edited = output.pass(linear(head_outputs, W_o.weight, W_o.bias));
        return residual.defined() ? residual + edited : edited;
    }
    output.show([&] { return linear(head_outputs, W_o.weight, W_o.bias); });
    return linear(head_outputs, W_o.weight, W_o.bias, residual);
}

MultiHeadAttention::Result MultiHeadAttention::forward(const Tensor& query, const Tensor& key, const Tensor& value,
                                                       const Mask& mask, bool need_weights, const Tensor& residual) {
    const auto [own_q, own_k, own_v] = project(query, key, value);
    AttentionOptions options;
    options.num_heads = num_heads_;
    options.mask = mask;
    options.need_weights = need_weights;
    options.kind = options_.kind;
    options.alibi = options_.alibi;
    std::optional<RandomStream> random;
    if (is_training() && options_.dropout > 0) {
        random = RandomScope::stream("dropout." + options_.name);
        options.dropout = options_.dropout;
        options.random = &*random;
    }
    const AttentionResult result = attend(options_, own_q, own_k, own_v, options, &scores, &weights);
    return {project_output(heads.pass(result.output), residual), need_weights ? result.weights : Tensor()};
}

Sizes MultiHeadAttention::outline(Outline& outline, const Sizes& x, const std::string& over) const {
    const std::int64_t batch = x[0], length = x[1];
    const auto split = [&](const Sizes& joined, std::int64_t count) {
        return Sizes{joined[0], count, joined[1], joined[2] / count};
    };
    const bool grouped = kv_heads_ != num_heads_;
    const char* const of_groups = grouped ? "(B, T, G*d_k)" : "(B, T, H*d_k)";
    const Sizes own_q = W_q.outline(outline, x), own_k = W_k.outline(outline, x), own_v = W_v.outline(outline, x);
    outline.step(options_.name + ".W_q", "(B, T, H*d_k)", own_q, "q");
    outline.step(options_.name + ".W_k", of_groups, own_k, "k");
    outline.step(options_.name + ".W_v", of_groups, own_v, "v");
    outline.step("  split into heads", "(B, H, T, d_k)", split(own_q, num_heads_),
                 grouped ? "q; k and v into G = " + std::to_string(kv_heads_) + " groups, each read by several heads"
                         : "q, k, v; a view, nothing is copied");
    if (options_.qk_norm)
        outline.step("  normalise", "(B, H, T, d_k)", split(own_q, num_heads_), "q and k of each head by their RMS");
    if (options_.rotary)
        outline.step("  rotate", "(B, H, T, d_k)", split(own_q, num_heads_),
                     "q and k, by angles that grow with the position");
    const Sizes square{batch, num_heads_, length, length}, per_head = split(own_q, num_heads_);
    outline.step("  scores", "(B, H, T, T)", square, scores_note(options_));
    outline.step("  weights", "(B, H, T, T)", square, weights_note(options_, over));
    outline.step("  weights v", "(B, H, T, d_k)", per_head, "what each head reads");
    outline.step("  join heads", "(B, T, H*d_k)", own_q, "head_out");
    // The fused attention keeps only small weights (autograd/ops/kept_values.h): backward computes others again.
    outline.keep(4 * count_of(own_q));  // q, k, v and the heads' outputs
    outline.multiply_add(2 * count_of(square) * static_cast<double>(head_dim_));
    const Sizes y = W_o.outline(outline, own_q);
    outline.step(options_.name + ".W_o", "(B, T, d)", y);
    return y;
}

void MultiHeadAttention::initialize_own(const Initializer& init) {
    for (const Projection projection : projections) {
        const std::string letter = name_of(projection);
        const InitOptions& options = init.options();
        if (std::ranges::count(options.clone_heads, letter[0]) == 0) continue;
        const Linear& linear = linear_of(*this, projection);
        const Tensor block = head_slice(*this, 0, projection).values();
        for (std::int64_t h = 1; h < num_heads_; ++h) head_slice(*this, h, projection).assign(block);
        const bool per_head_bias = linear.bias.defined() && projection != Projection::o;  // b_o belongs to no head
        if (per_head_bias) {
            const std::size_t width = static_cast<std::size_t>(head_dim_) * size_of(linear.bias.dtype());
            Tensor bias = linear.bias;
            for (std::int64_t at = head_dim_; at < bias.numel(); at += head_dim_)
                std::copy_n(bias.bytes(), width, bias.bytes() + static_cast<std::size_t>(at / head_dim_) * width);
        }
        if (options.clone_noise == 0) continue;
        init.add_clone_noise(linear.weight, "W_" + letter + ".weight");
        if (per_head_bias) init.add_clone_noise(linear.bias, "W_" + letter + ".bias");
    }
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

const Linear& linear_of(const MultiHeadAttention& attention, Projection projection) {
    switch (projection) {
        case Projection::q: return attention.W_q;
        case Projection::k: return attention.W_k;
        case Projection::v: return attention.W_v;
        case Projection::o: return attention.W_o;
    }
    throw Error("linear_of: no such projection");
}

}  // namespace headscope::nn
