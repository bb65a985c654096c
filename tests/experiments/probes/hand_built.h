// A transformer of two layers whose weights are set by hand, so that each of its eight heads does one thing exactly.
#pragma once

#include "autograd/graph.h"
#include "nn/transformer.h"

namespace headscope::experiments {

/// d_model = V + T + V + V: what a token is, where it stands, what stood before it, what comes next; each one-hot.
///   layer 0:  0 previous token (tells the third part)   1 uniform   2 sink   3 looks back by `far`
///   layer 1:  0 induction, completes the induction circuit and copies to the fourth part   1 duplicate token, speaks
///             against what it sees   2 itself   3 looks back by 1
/// Where a head has nothing to look for, its weights are uniform (head 0 of layer 1: over all keys but the first).
class HandBuilt {
public:
    static constexpr std::int64_t V = 20, T = 24, k = V + T, far = 7;
    static constexpr std::int64_t token = 0, place = V, before = V + T, next = V + T + V, d = V + T + V + V;

    HandBuilt() : model(options()) {
        model.to(DType::f64);
        for (const nn::Parameter& parameter : model.named_parameters()) Tensor(parameter.tensor).fill_(0);
        for (std::int64_t v = 0; v < V; ++v) {
            at(model.embedding.weight, v, token + v) = 1;
            at(model.head->weight, v, next + v) = sharp;
        }
        for (std::int64_t t = 0; t < T; ++t) at(model.position->weight, t, place + t) = 1;
        look_back(0, 0, 1);
        move_token(0, 0, before, 1);
        for (std::int64_t t = 0; t < T; ++t) ask(0, 2, 0, place + t, 1);  // sink: everybody wants position 0
        answer(0, 2, 0, place, 1);
        look_back(0, 3, far);

        for (std::int64_t v = 0; v < V; ++v) {  // induction: whoever was preceded by me
            ask(1, 0, v, token + v, 1);
            answer(1, 0, v, before + v, 1);
        }
        // Nobody precedes position 0, so the head of layer 0 tells it itself. That must not count.
        for (std::int64_t t = 0; t < T; ++t) ask(1, 0, V, place + t, 1);
        answer(1, 0, V, place, -1);
        move_token(1, 0, next, 1);
        for (std::int64_t v = 0; v < V; ++v) {  // duplicate token: whoever is like me, but not myself
            ask(1, 1, v, token + v, 1);
            answer(1, 1, v, token + v, 1);
        }
        for (std::int64_t t = 0; t < T; ++t) {
            ask(1, 1, V + t, place + t, -2);
            answer(1, 1, V + t, place + t, 1);
        }
        move_token(1, 1, next, -1);
        look_back(1, 2, 0);
        look_back(1, 3, 1);
    }

    nn::Transformer model;

private:
    static constexpr double sharp = 60;  // e^-60 is nothing

    static nn::TransformerOptions options() {
        nn::TransformerOptions options;
        options.vocab_size = V;
        options.max_len = T;
        options.num_layers = 2;
        options.block.d_model = d;
        options.block.num_heads = 4;
        options.block.head_dim = k;
        options.block.d_ff = 0;
        options.block.norm = nn::NormPlacement::none;
        options.block.bias = false;
        return options;
    }

    static double& at(Tensor matrix, std::int64_t row, std::int64_t col) {
        return matrix.data<double>()[row * matrix.size(1) + col];
    }
    nn::MultiHeadAttention& attention(std::size_t layer) { return model.blocks[layer]->attn; }

    /// The query has `size` times a sharp score at the head's inner direction i, for each unit of the residual stream's
    /// direction c; the key `size` units.
    void ask(std::size_t layer, std::int64_t head, std::int64_t i, std::int64_t c, double size) {
        at(attention(layer).W_q.weight, head * k + i, c) = size * sharp * std::sqrt(static_cast<double>(k));
    }
    void answer(std::size_t layer, std::int64_t head, std::int64_t i, std::int64_t c, double size) {
        at(attention(layer).W_k.weight, head * k + i, c) = size;
    }
    void look_back(std::size_t layer, std::int64_t head, std::int64_t lag) {
        for (std::int64_t t = 0; t < T; ++t) ask(layer, head, t, place + t, 1);
        for (std::int64_t t = 0; t + lag < T; ++t) answer(layer, head, t + lag, place + t, 1);
    }
    /// Writes `size` times the token that is attended to into a part of the residual stream.
    void move_token(std::size_t layer, std::int64_t head, std::int64_t to, double size) {
        for (std::int64_t v = 0; v < V; ++v) {
            at(attention(layer).W_v.weight, head * k + v, token + v) = 1;
            at(attention(layer).W_o.weight, to + v, head * k + v) = size;
        }
    }
};

}  // namespace headscope::experiments
