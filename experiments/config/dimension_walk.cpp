#include "experiments/config/dimension_walk.h"

#include <fmt/format.h>

#include "autograd/graph.h"

namespace headscope::experiments {

namespace {

std::int64_t inner_width(const nn::BlockOptions& block) {
    return block.num_heads * (block.head_dim > 0 ? block.head_dim : block.d_model / block.num_heads);
}

std::string scores_note(const nn::TransformerOptions& options) {
    if (options.block.custom_attention) return "as the chosen attention has them";
    switch (options.block.attention) {
        case AttentionKind::linear: return "phi(q) phi(k)^T, phi = elu + 1";
        case AttentionKind::uniform: return "none; q and k are not used";
        case AttentionKind::softmax: break;
    }
    return options.position == nn::PositionEncoding::alibi ? "q k^T / sqrt(d_k) - slope |i - j|" : "q k^T / sqrt(d_k)";
}

std::string weights_note(const nn::TransformerOptions& options) {
    const std::string over = options.causal ? " over the past" : "";
    if (options.block.custom_attention) return "as the chosen attention has them";
    switch (options.block.attention) {
        case AttentionKind::linear: return "scores / their sum" + over;
        case AttentionKind::uniform: return "all equal" + over;
        case AttentionKind::softmax: break;
    }
    return "softmax" + over;
}

Sizes sizes_of(const Tensor& tensor) { return {tensor.shape().begin(), tensor.shape().end()}; }

}  // namespace

WalkShapes measure_shapes(nn::Transformer& model, const Tensor& tokens) {
    const NoGrad no_grad;
    model.eval();
    nn::TransformerBlock& block = *model.blocks.front();
    nn::AttentionRecord record;
    block.attn.watch(&record);
    const Tensor logits = model.forward(tokens);
    block.attn.watch(nullptr);

    WalkShapes shapes;
    const Tensor x = model.embedding.forward(tokens);
    shapes.tokens = sizes_of(tokens);
    shapes.embedded = sizes_of(x);
    if (block.norm1) shapes.normed = sizes_of(block.norm1->forward(x));
    shapes.q = sizes_of(record.q);
    shapes.k = sizes_of(record.k);
    shapes.v = sizes_of(record.v);
    shapes.weights = sizes_of(record.weights);
    shapes.head_out = sizes_of(record.head_out);
    shapes.attention_out = sizes_of(block.attn.W_o.forward(record.head_out));
    if (block.ffn) {
        const Tensor hidden = block.ffn->linear1.forward(x);
        shapes.hidden = sizes_of(hidden);
        shapes.ffn_out = sizes_of(block.ffn->linear2.forward(hidden));
    }
    shapes.logits = sizes_of(logits);
    return shapes;
}

WalkShapes compute_shapes(const nn::TransformerOptions& options, std::int64_t batch, std::int64_t length) {
    const nn::BlockOptions& block = options.block;
    const Sizes stream{batch, length, block.d_model};
    const Sizes heads{batch, length, inner_width(block)};
    WalkShapes shapes;
    shapes.tokens = {batch, length};
    shapes.embedded = shapes.attention_out = stream;
    if (block.norm != nn::NormPlacement::none) shapes.normed = stream;
    shapes.q = shapes.k = shapes.v = shapes.head_out = heads;
    shapes.weights = {batch, block.num_heads, length, length};
    if (block.d_ff > 0) {
        shapes.hidden = {batch, length, block.d_ff};
        shapes.ffn_out = stream;
    }
    shapes.logits = {batch, length, options.vocab_size};
    return shapes;
}

std::vector<WalkStep> dimension_walk(const nn::TransformerOptions& options, const WalkShapes& shapes,
                                     std::int64_t batch) {
    std::vector<WalkStep> steps;
    const auto add = [&](const std::string& name, const char* symbols, Sizes sizes, const std::string& note) {
        sizes.front() = batch;
        steps.push_back({name, symbols, sizes, note});
    };
    const nn::NormPlacement norm = options.block.norm;
    const std::string block = "blocks.0.", attention = block + "attn.";
    const Sizes& stream = shapes.embedded;
    // [B, T, H*d_k] -> [B, H, T, d_k]: the heads lie side by side and are read in place.
    const auto split = [&](const Sizes& joined) {
        const std::int64_t heads = shapes.weights[1];
        return Sizes{joined[0], heads, joined[1], joined[2] / heads};
    };

    add("tokens", "(B, T)", shapes.tokens, "");
    add("embedding", "(B, T, d)", stream, "a row of embedding.weight per token");
    if (options.position == nn::PositionEncoding::learned) {
        add("+ position", "(B, T, d)", stream, "rows 0..T-1 of position.weight");
    }
    if (options.position == nn::PositionEncoding::sinusoidal) add("+ position", "(B, T, d)", stream, "fixed sines");
    if (options.position == nn::PositionEncoding::custom) add("+ position", "(B, T, d)", stream, "");
    if (norm == nn::NormPlacement::pre) add(block + "norm1", "(B, T, d)", shapes.normed, "");
    add(attention + "W_q", "(B, T, H*d_k)", shapes.q, "q");
    add(attention + "W_k", "(B, T, H*d_k)", shapes.k, "k");
    add(attention + "W_v", "(B, T, H*d_k)", shapes.v, "v");
    add("  split into heads", "(B, H, T, d_k)", split(shapes.q), "q, k, v; a view, nothing is copied");
    if (options.position == nn::PositionEncoding::rotary)
        add("  rotate", "(B, H, T, d_k)", split(shapes.q), "q and k, by angles that grow with the position");
    add("  scores", "(B, H, T, T)", shapes.weights, scores_note(options));
    add("  weights", "(B, H, T, T)", shapes.weights, weights_note(options));
    add("  weights v", "(B, H, T, d_k)", split(shapes.head_out), "what each head reads");
    add("  join heads", "(B, T, H*d_k)", shapes.head_out, "head_out");
    add(attention + "W_o", "(B, T, d)", shapes.attention_out, "");
    add("  + residual", "(B, T, d)", stream, "");
    if (norm == nn::NormPlacement::post) add(block + "norm1", "(B, T, d)", shapes.normed, "");
    if (options.block.d_ff > 0) {
        if (norm == nn::NormPlacement::pre) add(block + "norm2", "(B, T, d)", shapes.normed, "");
        add(block + "ffn.linear1", "(B, T, d_ff)", shapes.hidden, "");
        add(block + "ffn.linear2", "(B, T, d)", shapes.ffn_out, "after the activation");
        add("  + residual", "(B, T, d)", stream, "");
        if (norm == nn::NormPlacement::post) add(block + "norm2", "(B, T, d)", shapes.normed, "");
    }
    if (options.num_layers > 1) {
        const std::int64_t last = options.num_layers - 1;
        add(last == 1 ? "blocks.1" : fmt::format("blocks.1 ... blocks.{}", last), "(B, T, d)", stream,
            "the same again");
    }
    if (norm == nn::NormPlacement::pre) add("norm", "(B, T, d)", shapes.normed, "");
    add(options.tie_embeddings ? "embedding^T" : "head", "(B, T, V)", shapes.logits, "logits");
    return steps;
}

std::vector<ParameterGroupCount> count_by_part(const nn::TransformerOptions& options) {
    const nn::BlockOptions& block = options.block;
    const auto d = static_cast<double>(block.d_model), inner = static_cast<double>(inner_width(block));
    const auto d_ff = static_cast<double>(block.d_ff), vocab = static_cast<double>(options.vocab_size);
    const double norms = block.norm == nn::NormPlacement::none ? 0 : block.d_ff > 0 ? 2 : 1;
    const double attention_biases = block.bias && block.attention_bias ? 3 * inner + d : 0;

    std::vector<ParameterGroupCount> per_block;
    per_block.push_back({"attn", 4 * inner * d + attention_biases});
    if (d_ff > 0) per_block.push_back({"ffn", 2 * d_ff * d + (block.bias ? d_ff + d : 0)});
    if (norms > 0) per_block.push_back({norms > 1 ? "norm1, norm2" : "norm1", norms * 2 * d});

    std::vector<ParameterGroupCount> groups{{"embedding", vocab * d}};
    if (options.position == nn::PositionEncoding::learned) {
        groups.push_back({"position", static_cast<double>(options.max_len) * d});
    }
    if (options.position == nn::PositionEncoding::custom) {
        groups.push_back({"position", static_cast<double>(options.custom_position.parameters)});
    }
    const std::string layers = options.num_layers > 1 ? fmt::format("{} x ", options.num_layers) : "";
    for (const ParameterGroupCount& part : per_block) {
        groups.push_back({layers + "block: " + part.name, static_cast<double>(options.num_layers) * part.count});
    }
    if (block.norm == nn::NormPlacement::pre) groups.push_back({"norm", 2 * d});
    if (!options.tie_embeddings) groups.push_back({"head", vocab * d});
    return groups;
}

double flops_per_step(const nn::TransformerOptions& options, std::int64_t batch, std::int64_t length) {
    const nn::BlockOptions& block = options.block;
    const auto d = static_cast<double>(block.d_model), inner = static_cast<double>(inner_width(block));
    const auto layers = static_cast<double>(options.num_layers), t = static_cast<double>(length);
    const double weights = layers * (4 * inner * d + 2 * static_cast<double>(block.d_ff) * d) +
                           static_cast<double>(options.vocab_size) * d;
    const double tokens = static_cast<double>(batch) * t;
    return 6 * tokens * weights + 12 * layers * tokens * t * inner;
}

}  // namespace headscope::experiments
