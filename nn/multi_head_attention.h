// Multi-head attention, one big matrix per projection (Vaswani et al. 2017).
#pragma once

#include <array>
#include <functional>
#include <string>
#include <utility>

#include "autograd/ops/attention.h"
#include "nn/head_gates.h"
#include "nn/linear.h"

namespace headscope::nn {

/// An attention of one's own: takes and returns what headscope::attention() does, with weights when
/// options.need_weights and gradients to q, k and v. options.kind is softmax; options.alibi it must honour or refuse.
/// PerHeadAttention calls it for each head with num_heads = 1. It is shared by all layers.
using AttentionFunction =
    std::function<AttentionResult(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options)>;

struct AttentionModuleOptions {
    std::int64_t head_dim = 0;  ///< d_k = d_v; 0 means d_model / num_heads, which must then divide
    bool bias = true;           ///< biases of W_q, W_k, W_v, W_o
    double dropout = 0;         ///< on the weights, in training mode
    std::string name = "attn";  ///< path of the module: names its dropout stream
    bool fused = true;          ///< false: the unfused twin, for tests
    AttentionKind kind = AttentionKind::softmax;
    bool rotary = false;            ///< turn q and k of every head by their positions; needs an even head_dim
    bool alibi = false;             ///< softmax only
    AttentionFunction custom = {};  ///< when set, called in place of the built-in kinds
};

/// The width of a head: `head_dim`, or d_model / num_heads when that is 0. Throws Error naming `module` when a size is
/// not positive or the division leaves a rest.
std::int64_t resolve_head_dim(const char* module, std::int64_t d_model, std::int64_t num_heads, std::int64_t head_dim);
/// Throws Error naming `module` when the options cannot be had together.
void check_attention_options(const char* module, const AttentionModuleOptions& options, std::int64_t head_dim);
/// The attention that `module_options` chooses, on what the heads project. Throws Error when a custom one returns
/// something of another shape than promised.
AttentionResult attend(const AttentionModuleOptions& module_options, const Tensor& q, const Tensor& k, const Tensor& v,
                       const AttentionOptions& options);

/// What a forward pass leaves for whoever watches.
struct AttentionRecord {
    /// Set by the watcher: leave the tensors in their place in the graph, so that hooks can be registered on them. Else
    /// they are outside.
    bool in_graph = false;
    Tensor q, k, v;   ///< [B, Tq, H*d_k], [B, Tk, H*d_k], [B, Tk, H*d_v]; q and k after rotation
    Tensor weights;   ///< [B, H, Tq, Tk], before dropout
    Tensor head_out;  ///< [B, Tq, H*d_v], before W_o (after the gates and the edit, where there are any)
    Tensor output;    ///< [B, Tq, d_model]: what forward returns, the residual included

    /// The same values outside the graph.
    AttentionRecord detached() const;
};

/// What forward passes go through beside the module's own computation: the place to remove, silence or replace what
/// heads do. An empty function is passed by and costs nothing. Made of ops, both are differentiated with the rest.
/// Throws Error, from forward, when one returns another shape or dtype than it was given.
struct AttentionEdit {
    /// What the heads say, side by side [B, Tq, H*d_v], after the gates -> what W_o gets instead.
    std::function<Tensor(const Tensor& heads)> heads = {};
    /// What the attention says, heads W_o^T + b_o, [B, Tq, d_model], before the residual is added -> what it says
    /// instead. `heads` is what W_o got.
    std::function<Tensor(const Tensor& heads, const Tensor& output)> output = {};
};

/// Children W_q, W_k, W_v [H*d_k, d_model] and W_o [d_model, H*d_k]. Head h owns rows [h*d_k, (h+1)*d_k) of W_q, W_k,
/// W_v and the same columns of W_o.
class MultiHeadAttention : public Module {
public:
    /// Throws Error when num_heads does not divide d_model and no head_dim is given, when rotary meets an odd head_dim,
    /// or alibi another kind than softmax.
    MultiHeadAttention(std::int64_t d_model, std::int64_t num_heads, const AttentionModuleOptions& options = {});

    /// query [B, Tq, d_model]; key, value [B, Tk, d_model]. One tensor given as all three is projected in one pass.
    /// Returns output [B, Tq, d_model] (plus `residual`, of that shape, where defined) and attention_weights
    /// [B, H, Tq, Tk].
    struct Result {
        Tensor output;
        Tensor attention_weights;  ///< undefined when forward was told not to need them
    };
    Result forward(const Tensor& query, const Tensor& key, const Tensor& value, const Mask& mask = Mask::none(),
                   bool need_weights = true, const Tensor& residual = {});

    /// From the next forward on, fill *record (or nothing, when null). The record must outlive its use.
    void watch(AttentionRecord* record) { record_ = record; }
    /// From the next forward on, multiply every head's output by its gate before W_o (or not, when null). The gates are
    /// no parameters of this module, so names and checkpoints stay as they are; they must outlive their use.
    /// Throws Error when there are not num_heads of them.
    void use_gates(HeadGates* gates);
    /// Those in use, or null.
    const HeadGates* gates() const { return gates_; }
    /// From the next forward on, pass what the heads say through `edit`. `edit({})` ends it.
    void edit(AttentionEdit edit) { edit_ = std::move(edit); }

    std::int64_t d_model() const { return d_model_; }
    std::int64_t num_heads() const { return num_heads_; }
    std::int64_t head_dim() const { return head_dim_; }
    const AttentionModuleOptions& options() const { return options_; }

    Linear W_q, W_k, W_v, W_o;

private:
    /// q [B, Tq, H*d_k], k and v [B, Tk, H*d_k].
    std::array<Tensor, 3> project(const Tensor& query, const Tensor& key, const Tensor& value) const;
    /// heads [B, Tq, H*d_v] -> what forward returns [B, Tq, d_model].
    Tensor speak(const Tensor& heads, const Tensor& residual) const;

    std::int64_t d_model_, num_heads_, head_dim_;
    AttentionModuleOptions options_;
    AttentionRecord* record_ = nullptr;
    HeadGates* gates_ = nullptr;
    AttentionEdit edit_;
};

enum class Projection { q, k, v, o };
inline constexpr Projection projections[] = {Projection::q, Projection::k, Projection::v, Projection::o};
/// "q", "k", "v" or "o".
const char* name_of(Projection projection);

/// Where one head's block of a projection lies inside the big matrix `weight`: `rows` x `cols` elements from
/// (row, col). For q, k, v it is [d_k, d_model], whole rows; for o it is [d_model, d_k], a block of columns.
struct HeadSlice {
    Tensor weight;
    std::int64_t row, col, rows, cols;

    /// The block's values, [rows, cols], copied.
    Tensor values() const;
    /// The block of the gradient, [rows, cols], copied. Throws Error when there is no gradient yet.
    Tensor gradient() const;
    /// Overwrites the block. Throws Error when shape or dtype differ.
    void assign(const Tensor& values) const;
};

/// Throws Error when there is no such head.
HeadSlice head_slice(const MultiHeadAttention& attention, std::int64_t head, Projection projection);

}  // namespace headscope::nn
