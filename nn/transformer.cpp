#include "nn/transformer.h"

#include <cmath>
#include <numeric>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/linear.h"
#include "nn/init.h"

namespace headscope::nn {
namespace {

/// The tokens 0, 1, ..., length - 1: they look up the first rows of the
/// position table, so that its gradient flows.
Tensor positions(std::int64_t length) {
    Tensor tokens = Tensor::empty({length}, DType::i64);
    std::int64_t* first = tokens.data<std::int64_t>();
    std::iota(first, first + length, std::int64_t{0});
    return tokens;
}

/// pe[t, 2i] = sin(t / 10000^(2i/d)), pe[t, 2i+1] = cos of the same (Vaswani et
/// al. 2017): [length, d].
Tensor sines(std::int64_t length, std::int64_t d, DType dtype) {
    Tensor table = Tensor::empty({length, d}, DType::f64);
    double* out = table.data<double>();
    for (std::int64_t t = 0; t < length; ++t)
        for (std::int64_t column = 0; column < d; ++column) {
            const double power = static_cast<double>(column - column % 2) / static_cast<double>(d);
            const double angle = static_cast<double>(t) / std::pow(10000.0, power);
            out[t * d + column] = column % 2 == 0 ? std::sin(angle) : std::cos(angle);
        }
    return table.to(dtype);
}

std::unique_ptr<PositionScheme> build_custom_position(const TransformerOptions& options) {
    const CustomPosition& custom = options.custom_position;
    std::unique_ptr<PositionScheme> scheme;
    if (custom.build) scheme = custom.build(options.max_len, options.block.d_model);
    if (!scheme) throw Error("Transformer: position is custom, but custom_position.build gives none");
    std::int64_t count = 0;
    for (const NamedTensor& parameter : scheme->named_parameters()) count += parameter.tensor.numel();
    if (count != custom.parameters)
        throw Error("Transformer: custom_position.parameters is " + std::to_string(custom.parameters) +
                    ", but what it builds has " + std::to_string(count));
    return scheme;
}

}  // namespace

Transformer::Transformer(const TransformerOptions& options)
    : embedding(deferred<Embedding>(options.vocab_size, options.block.d_model)),
      options_(options),
      dropout_(options.block.dropout, "embedding") {
    const std::int64_t d_model = options.block.d_model;
    register_module("embedding", embedding);
    if (options.position == PositionEncoding::learned) {
        const DeferInit defer;
        position = std::make_unique<Embedding>(options.max_len, d_model);
        register_module("position", *position);
    }
    if (options.position == PositionEncoding::custom) {
        custom_position = build_custom_position(options);
        register_module("position", *custom_position);
    }
    register_module("dropout", dropout_);
    for (std::int64_t layer = 0; layer < options.num_layers; ++layer) {
        const DeferInit defer;
        BlockOptions block = options.block;
        block.name = "blocks." + std::to_string(layer);
        block.rotary = options.position == PositionEncoding::rotary;
        block.alibi = options.position == PositionEncoding::alibi;
        blocks.push_back(std::make_unique<TransformerBlock>(block));
        register_module(block.name, *blocks.back());
    }
    if (options.block.norm == NormPlacement::pre) {
        norm = std::make_unique<LayerNorm>(d_model);
        register_module("norm", *norm);
    }
    if (!options.tie_embeddings) {
        const DeferInit defer;
        head = std::make_unique<Linear>(d_model, options.vocab_size, false);
        register_module("head", *head);
    }
    initialize_new(*this);
}

Tensor Transformer::embed(const Tensor& tokens) {
    const std::int64_t length = tokens.size(1), d_model = options_.block.d_model;
    Tensor x = embedding.forward(tokens);  // [B, T, d]
    if (position) {
        if (length > options_.max_len)
            throw Error("Transformer: the input is longer than max_len; tokens is " + tokens.shape().str() +
                        ", position.weight is " + position->weight.shape().str() + "; raise max_len");
        x = x + position->forward(positions(length));  // [B, T, d] + [T, d]
    } else if (options_.position == PositionEncoding::sinusoidal) {
        if (!sines_.defined() || sines_.size(0) != length || sines_.dtype() != x.dtype())
            sines_ = sines(length, d_model, x.dtype());
        x = x + sines_;
    } else if (custom_position) {
        const Tensor placed = custom_position->add_to(x);
        if (placed.shape() != x.shape())
            throw Error("Transformer: custom positions must keep the shape; the embedding is " + x.shape().str() +
                        ", add_to() returned " + placed.shape().str());
        x = placed;
    }
    return dropout_.forward(x);
}

Tensor Transformer::forward(const Tensor& tokens) {
    if (tokens.rank() != 2)
        throw Error("Transformer: tokens must be [batch, length]; tokens is " + tokens.shape().str());
    const Mask mask = options_.causal ? Mask::causal() : Mask::none();
    Tensor x = embed(tokens);
    for (const auto& block : blocks) x = block->forward(x, mask);
    if (norm) x = norm->forward(x);
    return head ? head->forward(x) : linear(x, embedding.weight);  // [B, T, V]
}

std::int64_t count_parameters(const TransformerOptions& options) {
    const BlockOptions& block = options.block;
    const std::int64_t d = block.d_model;
    const std::int64_t inner = block.head_dim > 0 ? block.num_heads * block.head_dim : d;
    const std::int64_t norm = 2 * d;
    const bool has_norm = block.norm != NormPlacement::none;

    std::int64_t per_block = 4 * inner * d + (has_norm ? norm : 0);
    if (block.bias && block.attention_bias) per_block += 3 * inner + d;
    if (block.d_ff > 0) {
        per_block += 2 * block.d_ff * d + (has_norm ? norm : 0);
        if (block.bias) per_block += block.d_ff + d;
    }
    std::int64_t count = options.vocab_size * d + options.num_layers * per_block;
    if (options.position == PositionEncoding::learned) count += options.max_len * d;
    if (options.position == PositionEncoding::custom) count += options.custom_position.parameters;
    if (block.norm == NormPlacement::pre) count += norm;
    if (!options.tie_embeddings) count += options.vocab_size * d;
    return count;
}

}  // namespace headscope::nn
