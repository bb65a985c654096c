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

// Weights of one's own, for both kinds below. The weight of a key that a query may not see is 0. Which keys it may see
// is in `visible`, for an attention as a whole in visible_keys(options.mask, q.size(1), k.size(1)): boolean [B|1, H|1,
// Tq|1, Tk], causality included, undefined when every query sees every key (autograd/ops/attention.h). Weights need not
// sum to 1. Probes of attention weights divide each row by its sum and leave out rows of zeros; a head with a negative
// weight has NaN there, and its role is `unclear`.

/// An attention of one's own, as a whole: takes and returns what headscope::attention() does, with weights when
/// options.need_weights and gradients to q, k and v. options.kind is softmax; options.mask it must honour,
/// options.alibi honour or refuse. apply_weights() makes the output from weights, options.dropout included.
/// PerHeadAttention calls it for each head with num_heads = 1. It is shared by all layers. Points between q, k and the
/// heads' outputs cannot be edited in it.
using AttentionFunction =
    std::function<AttentionResult(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options)>;

/// An attention of one's own, by its weights alone: scores [B, H, Tq, Tk], q k^T / sqrt(d_k) with alibi added where it
/// was chosen, and visible -> weights of the scores' shape, differentiable. Dropout and the product with v follow.
using WeightsFunction = std::function<Tensor(const Tensor& scores, const Tensor& visible)>;

struct AttentionModuleOptions {
    std::int64_t head_dim = 0;  ///< d_k = d_v; 0 means d_model / num_heads, which must then divide
    bool bias = true;           ///< biases of W_q, W_k, W_v, W_o
    double dropout = 0;         ///< on the weights, in training mode
    std::string name = "attn";  ///< path of the module: names its dropout stream
    bool fused = true;          ///< false: the unfused twin, for tests
    AttentionKind kind = AttentionKind::softmax;
    bool rotary = false;            ///< turn q and k of every head by their positions; needs an even head_dim
    bool alibi = false;             ///< kinds with scores only
    AttentionFunction custom = {};  ///< when set, called in place of the built-in kinds
    WeightsFunction weights = {};   ///< when set, makes the weights in place of the softmax
    /// Each head's q and k divided by their root mean square (eps 1e-5, no weight), before rotation (Henry et al.
    /// 2020).
    bool qk_norm = false;
    /// Groups of keys and values (Ainslie et al. 2023): head h reads group floor(h * kv_heads / num_heads). 0: one a
    /// head.
    std::int64_t kv_heads = 0;
};

/// The width of a head: `head_dim`, or d_model / num_heads when that is 0. Throws Error naming `module` when a size is
/// not positive or the division leaves a rest.
std::int64_t resolve_head_dim(const char* module, std::int64_t d_model, std::int64_t num_heads, std::int64_t head_dim);
/// Throws Error naming `module` when the options cannot be had together.
void check_attention_options(const char* module, const AttentionModuleOptions& options, std::int64_t num_heads,
                             std::int64_t head_dim);
/// Has the attention that the options choose scores, q k^T / sqrt(d_k), which its weights are made from?
bool has_scores(const AttentionModuleOptions& options);
/// The attention that `module_options` chooses, on what the heads project. Guests at `scores` and `weights`, where
/// given, look at and change them. Throws Error when a custom one returns something of another shape than promised, or
/// a guest stays at a point that the chosen attention does not have.
AttentionResult attend(const AttentionModuleOptions& module_options, const Tensor& q, const Tensor& k, const Tensor& v,
                       const AttentionOptions& options, const Point* scores = nullptr, const Point* weights = nullptr);
/// Every head's part of x [B, T, H*d] divided by its root mean square.
Tensor normalise_heads(const Tensor& x, std::int64_t heads);

/// Children W_q [H*d_k, d_model], W_k and W_v [G*d_k, d_model] (G groups of keys and values, H unless kv_heads is set)
/// and W_o [d_model, H*d_k]. Head h owns rows [h*d_k, (h+1)*d_k) of W_q, the same columns of W_o, and reads its group's
/// rows of W_k and W_v.
class MultiHeadAttention : public Module {
public:
    /// Throws Error when num_heads does not divide d_model and no head_dim is given, when rotary meets an odd head_dim,
    /// or alibi an attention without scores.
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
    /// Self-attention in sizes, x [B, T, d_model]. `over`: what the weights are taken over, " over the past".
    Sizes outline(Outline& outline, const Sizes& x, const std::string& over) const;
    void initialize_own(const Initializer& init) override;

    std::int64_t d_model() const { return d_model_; }
    std::int64_t num_heads() const { return num_heads_; }
    std::int64_t head_dim() const { return head_dim_; }
    std::int64_t kv_heads() const { return kv_heads_; }
    /// The group of keys and values that a head reads.
    std::int64_t kv_head_of(std::int64_t head) const { return head * kv_heads_ / num_heads_; }
    const AttentionModuleOptions& options() const { return options_; }

    Linear W_q, W_k, W_v, W_o;

    Point q, k, v;  ///< [B, T, H*d] as the heads use them: q and k normalised and rotated, groups repeated
    Point scores;   ///< [B, H, Tq, Tk]: q k^T / sqrt(d_k), before alibi and mask
    Point weights;  ///< [B, H, Tq, Tk], before dropout
    Point heads;    ///< [B, Tq, H*d_v], what W_o is given
    Point output;   ///< [B, Tq, d_model], heads W_o^T + b_o, before dropout and residual

private:
    /// q [B, Tq, H*d_k], k and v [B, Tk, H*d_k], as the heads use them.
    std::array<Tensor, 3> project(const Tensor& query, const Tensor& key, const Tensor& value) const;
    /// heads [B, Tq, H*d_v] -> what forward returns [B, Tq, d_model].
    Tensor project_output(const Tensor& head_outputs, const Tensor& residual) const;

    std::int64_t d_model_, num_heads_, head_dim_, kv_heads_;
    AttentionModuleOptions options_;
};

enum class Projection { q, k, v, o };
inline constexpr Projection projections[] = {Projection::q, Projection::k, Projection::v, Projection::o};
/// "q", "k", "v" or "o".
const char* name_of(Projection projection);
/// W_q, W_k, W_v or W_o.
const Linear& linear_of(const MultiHeadAttention& attention, Projection projection);

/// Where one head's block of a projection lies inside the big matrix `weight`: `rows` x `cols` elements from
/// (row, col). For q, k, v it is [d_k, d_model], whole rows (of k and v those of the head's group); for o it is
/// [d_model, d_k], a block of columns.
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
