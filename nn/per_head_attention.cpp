#include "nn/per_head_attention.h"

#include <cstring>
#include <optional>

#include "autograd/ops/indexing.h"
#include "autograd/ops/rotary.h"
#include "nn/init.h"

namespace headscope::nn {
namespace {

/// What `mask` says about one of `heads` heads.
Mask mask_of_head(const Mask& mask, std::int64_t head, std::int64_t heads) {
    const Tensor& all = mask.tensor();
    if (!all.defined() || all.size(1) == 1) return mask;
    if (all.size(1) != heads)
        throw Error("PerHeadAttention: the mask must be for one head or all; the mask is " + all.shape().str() +
                    ", num_heads is " + std::to_string(heads));
    const std::int64_t batch = all.size(0), queries = all.size(2), keys = all.size(3);
    Tensor own = Tensor::empty({batch, 1, queries, keys}, DType::boolean);
    const auto bytes = static_cast<std::size_t>(queries * keys);
    for (std::int64_t b = 0; b < batch; ++b)
        std::memcpy(own.bytes() + static_cast<std::size_t>(b) * bytes,
                    all.bytes() + static_cast<std::size_t>(b * heads + head) * bytes, bytes);
    return mask.is_causal() ? Mask::causal() & Mask::visible(own) : Mask::visible(own);
}

/// Copies `rows` rows of a weight, or elements of a bias.
void copy_rows(const Tensor& from, std::int64_t from_row, Tensor to, std::int64_t to_row, std::int64_t rows) {
    if (!from.defined()) return;
    const std::int64_t columns = from.rank() == 2 ? from.size(1) : 1;
    const auto bytes = [&](std::int64_t count) {
        return static_cast<std::size_t>(count * columns) * size_of(from.dtype());
    };
    std::memcpy(to.bytes() + bytes(to_row), from.bytes() + bytes(from_row), bytes(rows));
}

/// Calls body(small, big, first row in big) for the projections of every head.
template <class Body>
void for_each_projection(const PerHeadAttention& small, const MultiHeadAttention& big, Body&& body) {
    for (std::int64_t h = 0; h < small.num_heads(); ++h) {
        const PerHeadAttention::Head& head = *small.heads[static_cast<std::size_t>(h)];
        const std::int64_t row = h * small.head_dim();
        body(head.W_q, big.W_q, row);
        body(head.W_k, big.W_k, row);
        body(head.W_v, big.W_v, row);
    }
}

}  // namespace

PerHeadAttention::PerHeadAttention(std::int64_t d_model, std::int64_t num_heads, const AttentionModuleOptions& options)
    : W_o(deferred<Linear>(num_heads * resolve_head_dim("PerHeadAttention", d_model, num_heads, options.head_dim),
                           d_model, options.bias)),
      d_model_(d_model),
      head_dim_(W_o.weight.size(1) / num_heads),
      options_(options) {
    check_attention_options("PerHeadAttention", options, num_heads, head_dim_);
    if (options.kv_heads != 0 && options.kv_heads != num_heads)
        throw Error("PerHeadAttention: every head has keys and values of its own; kv_heads is " +
                    std::to_string(options.kv_heads) + ", num_heads is " + std::to_string(num_heads));
    for (std::int64_t h = 0; h < num_heads; ++h) {
        const auto small = [&] { return deferred<Linear>(d_model, head_dim_, options.bias); };
        heads.push_back(std::unique_ptr<Head>(new Head{small(), small(), small()}));
        const std::string path = "heads." + std::to_string(h) + ".";
        register_module(path + "W_q", heads.back()->W_q);
        register_module(path + "W_k", heads.back()->W_k);
        register_module(path + "W_v", heads.back()->W_v);
    }
    register_module("W_o", W_o);
    initialize_new(*this);
}

MultiHeadAttention::Result PerHeadAttention::forward(const Tensor& query, const Tensor& key, const Tensor& value,
                                                     const Mask& mask, bool need_weights) {
    const std::int64_t count = num_heads();
    std::vector<Tensor> outputs, weights;
    for (std::int64_t h = 0; h < count; ++h) {
        const Head& head = *heads[static_cast<std::size_t>(h)];
        Tensor q = head.W_q.forward(query);        // [B, Tq, d_k]
        Tensor k = head.W_k.forward(key);          // [B, Tk, d_k]
        const Tensor v = head.W_v.forward(value);  // [B, Tk, d_k]
        if (options_.qk_norm) {
            q = normalise_heads(q, 1);
            k = normalise_heads(k, 1);
        }
        if (options_.rotary) {
            q = rotary(q, 1);
            k = rotary(k, 1);
        }
        AttentionOptions options;
        options.mask = mask_of_head(mask, h, count);
        options.need_weights = need_weights;
        options.kind = options_.kind;
        options.alibi = options_.alibi;
        options.alibi_first = h;
        options.alibi_heads = count;
        std::optional<RandomStream> random;
        if (is_training() && options_.dropout > 0) {
            random = RandomScope::stream("dropout." + options_.name + ".heads." + std::to_string(h));
            options.dropout = options_.dropout;
            options.random = &*random;
        }
        const AttentionResult result = attend(options_, q, k, v, options);
        outputs.push_back(result.output);   // [B, Tq, d_k]
        weights.push_back(result.weights);  // [B, 1, Tq, Tk]
    }
    return {W_o.forward(concat(outputs, 2)), need_weights ? concat(weights, 1) : Tensor()};
}

std::unique_ptr<PerHeadAttention> to_per_head(const MultiHeadAttention& attention) {
    AttentionModuleOptions options = attention.options();
    options.head_dim = attention.head_dim();
    auto result = std::make_unique<PerHeadAttention>(attention.d_model(), attention.num_heads(), options);
    result->to(attention.W_q.weight.dtype());
    for_each_projection(*result, attention, [&](const Linear& small, const Linear& big, std::int64_t row) {
        copy_rows(big.weight, row, small.weight, 0, attention.head_dim());
        copy_rows(big.bias, row, small.bias, 0, attention.head_dim());
    });
    result->W_o.load_state_dict(attention.W_o.state_dict());
    return result;
}

std::unique_ptr<MultiHeadAttention> from_per_head(const PerHeadAttention& attention) {
    AttentionModuleOptions options = attention.options();
    options.head_dim = attention.head_dim();
    auto result = std::make_unique<MultiHeadAttention>(attention.d_model(), attention.num_heads(), options);
    result->to(attention.W_o.weight.dtype());
    for_each_projection(attention, *result, [&](const Linear& small, const Linear& big, std::int64_t row) {
        copy_rows(small.weight, 0, big.weight, row, attention.head_dim());
        copy_rows(small.bias, 0, big.bias, row, attention.head_dim());
    });
    result->W_o.load_state_dict(attention.W_o.state_dict());
    return result;
}

}  // namespace headscope::nn
