#include "nn/transformer.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <utility>

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
    for (const Parameter& parameter : scheme->named_parameters()) count += parameter.tensor.numel();
    if (count != custom.parameters)
        throw Error("Transformer: custom_position.parameters is " + std::to_string(custom.parameters) +
                    ", but what it builds has " + std::to_string(count));
    return scheme;
}

}  // namespace

Transformer::Transformer(const TransformerOptions& options)
    : embedding(deferred<Embedding>(options.vocab_size, options.block.d_model)),
      embedded("embedded"),
      logits("logits"),
      options_(options),
      dropout_(options.block.dropout, "embedding") {
    const std::int64_t d_model = options.block.d_model;
    if (options.window < 0 || (options.window > 0 && !options.causal))
        throw Error("Transformer: a window needs a causal model and must not be negative; window is " +
                    std::to_string(options.window));
    register_point("embedded", embedded);
    register_point("logits", logits);
    register_module("embedding", embedding);
    if (options.position == PositionEncoding::learned) {
        const DeferInit defer;
        position = std::make_unique<Embedding>(options.max_len, d_model);
        register_module("position", *position);
    }
    // Its constructor may well write values, so a model without storage leaves it out.
    if (options.position == PositionEncoding::custom && !WithoutStorage::is_on()) {
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
        const DeferInit defer;
        norm = make_norm(options.block);
        register_module("norm", *norm);
    }
    if (!options.tie_embeddings) {
        const DeferInit defer;
        head = std::make_unique<Linear>(d_model, options.vocab_size, false, ParameterRole::head);
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
    return embedded.pass(dropout_.forward(x));
}

Tensor Transformer::forward(const Tensor& tokens) {
    if (tokens.rank() != 2)
        throw Error("Transformer: tokens must be [batch, length]; tokens is " + tokens.shape().str());
    const Mask visible = mask(tokens.size(1));
    Tensor x = embed(tokens);
    for (const auto& block : blocks) x = block->forward(x, visible);
    if (norm) x = norm->forward(x);
    return logits.pass(head ? head->forward(x) : linear(x, embedding.weight));  // [B, T, V]
}

Mask Transformer::mask(std::int64_t length) {
    if (!options_.causal) return Mask::none();
    if (options_.window == 0) return Mask::causal();
    if (window_length_ != length) {
        window_mask_ = Mask::window(options_.window, length, length);
        window_length_ = length;
    }
    return window_mask_;
}

void Transformer::outline(Outline& outline, const Sizes& tokens, std::int64_t layers) const {
    const char* const stream = "(B, T, d)";
    outline.step("tokens", "(B, T)", tokens);
    Sizes x = embedding.outline(tokens);
    outline.step("embedding", stream, x, "a row of embedding.weight per token");
    if (options_.position == PositionEncoding::learned)
        outline.step("+ position", stream, x, "rows 0..T-1 of position.weight");
    if (options_.position == PositionEncoding::sinusoidal) outline.step("+ position", stream, x, "fixed sines");
    if (options_.position == PositionEncoding::custom) outline.step("+ position", stream, x);
    outline.keep(2 * count_of(x));  // what goes into the first block and comes out of the last
    if (layers > 0) {
        const std::string over = !options_.causal       ? ""
                                 : options_.window == 0 ? " over the past"
                                                        : " over the last " + std::to_string(options_.window);
        outline.repeat(layers, [&] { x = blocks.front()->outline(outline, x, over); });
    }
    if (layers > 1)
        outline.step(layers == 2 ? "blocks.1" : "blocks.1 ... blocks." + std::to_string(layers - 1), stream, x,
                     "the same again");
    if (norm) outline.step("norm", stream, x);
    Sizes y = x;
    y.back() = options_.vocab_size;
    if (head) head->outline(outline, x);
    else outline.multiply_add(count_of(x) * static_cast<double>(options_.vocab_size));
    outline.step(head ? "head" : "embedding^T", "(B, T, V)", y, "the output layer: logits");
}

namespace {

/// The part of the model that a parameter belongs to: "embedding", "2 x block: attn".
std::string part_of(const std::string& name, const std::string& layers) {
    const std::string block = "blocks.0.";
    if (name == "head.weight") return "head (the output layer)";
    if (!name.starts_with(block)) return name.substr(0, name.find('.'));
    const std::string child = name.substr(block.size(), name.find('.', block.size()) - block.size());
    return layers + "block: " + child;
}

}  // namespace

ModelOutline::ModelOutline(const TransformerOptions& options, std::int64_t batch, std::int64_t length) {
    const WithoutStorage without_storage;
    TransformerOptions one = options;
    one.num_layers = std::min<std::int64_t>(options.num_layers, 1);
    const Transformer model(one);
    const std::string layers = options.num_layers > 1 ? std::to_string(options.num_layers) + " x " : "";
    const auto add = [&](const std::string& name, double count) {
        auto part = std::ranges::find(parts, name, &Part::name);
        if (part == parts.end()) part = parts.insert(part, {name, 0});
        part->parameters += count;
        parameters += count;
    };
    for (const Parameter& parameter : model.named_parameters()) {
        const bool in_block = parameter.name.starts_with("blocks.");
        add(part_of(parameter.name, layers),
            static_cast<double>(parameter.tensor.numel()) * (in_block ? static_cast<double>(options.num_layers) : 1.0));
        if (parameter.name == "embedding.weight" && options.position == PositionEncoding::custom &&
            options.custom_position.parameters > 0)
            add("position", static_cast<double>(options.custom_position.parameters));
    }
    // The norms of a block are one part, behind its other parts.
    const auto is_block = [](const Part& part) { return part.name.find("block: ") != std::string::npos; };
    const auto is_norm = [](const Part& part) { return part.name.find("block: norm") != std::string::npos; };
    const auto last = std::find_if(parts.rbegin(), parts.rend(), is_block).base();
    if (const auto first = std::stable_partition(parts.begin(), last, std::not_fn(is_norm)); last - first > 1) {
        first->name += ", norm2";
        first->parameters += (first + 1)->parameters;
        parts.erase(first + 1);
    }
    Outline outline;
    model.outline(outline, {batch, length}, options.num_layers);
    steps = outline.steps();
    kept = outline.kept();
    flops = 6 * outline.multiply_adds();
}

}  // namespace headscope::nn
