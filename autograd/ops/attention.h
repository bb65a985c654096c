// Scaled dot-product attention over heads that lie side by side, twice: one fused kernel, and the same thing composed
// of plain ops. A test holds one against the other.
//
//   S = q k^T / sqrt(d_k) (- alibi)      P = softmax(S over visible keys)      P' = dropout(P)      O = P' v
//
// Two other kinds of weights: linear, P_ij = phi(q_i) phi(k_j) / sum of the same over visible j, phi = elu + 1
// (Katharopoulos et al. 2020; computed in full here, because the weights are what one looks at), and uniform,
// P_ij = 1 / number of visible keys.
//
// q is [B, Tq, H*d_k], k is [B, Tk, H*d_k], v is [B, Tk, H*d_v]; head h owns columns [h*d, (h+1)*d), read in place.
#pragma once

#include <cstdint>

#include "autograd/random.h"
#include "autograd/tensor.h"

namespace headscope {

/// Which keys a query may see. Made by the named factories only, so that nobody has to remember what true means.
class Mask {
public:
    /// Every query sees every key.
    static Mask none() { return {}; }
    /// Query i sees keys 0..i (counted from the start of both sequences, also when Tq != Tk).
    static Mask causal();
    /// `valid` is boolean [B, Tk]: true marks a real token, false padding.
    static Mask padding(const Tensor& valid);
    /// `visible` is boolean [B|1, H|1, Tq, Tk]: true = may be seen.
    static Mask visible(const Tensor& visible);
    /// Query i sees keys j with i - width < j <= i. Throws Error when `width` is below 1.
    static Mask window(std::int64_t width, std::int64_t queries, std::int64_t keys);
    /// Both must allow it. Two tensors are combined by logical and, with broadcasting.
    Mask operator&(const Mask& other) const;

    bool is_causal() const { return causal_; }
    /// Boolean [B|1, H|1, Tq|1, Tk], or undefined.
    const Tensor& tensor() const { return visible_; }
    /// Throws Error, naming both shapes, unless the mask fits.
    void check(std::int64_t batch, std::int64_t heads, std::int64_t queries, std::int64_t keys) const;

private:
    bool causal_ = false;
    Tensor visible_;
};

/// How queries and keys become weights.
enum class AttentionKind { softmax, linear, uniform };

struct AttentionOptions {
    std::int64_t num_heads = 1;
    Mask mask = {};
    double dropout = 0;                    ///< probability, on P; 0 = off
    const RandomStream* random = nullptr;  ///< needed when dropout > 0; index of an element = its place in [B,H,Tq,Tk]
    bool need_weights = false;             ///< also return P
    AttentionKind kind = AttentionKind::softmax;
    /// Adds -2^(-8 (h+1) / H) |i - j| to the scores of head h before the mask (Press et al. 2022); softmax only.
    bool alibi = false;
    /// When the heads given are some of a larger number: they are heads alibi_first, ... of alibi_heads. 0 = of H.
    std::int64_t alibi_first = 0, alibi_heads = 0;
};

struct AttentionResult {
    Tensor output;   ///< [B, Tq, H*d_v], heads side by side
    Tensor weights;  ///< [B, H, Tq, Tk]: P, before dropout; undefined unless asked for. Gradients flow through it too
};

/// A query that sees no key gets output 0, weights 0 and no gradient. So does a query of linear attention whose
/// features make sums too small for exact weights (all visible phi(q) phi(k) near the smallest normal number, 1e-38 in
/// f32). Softmax weights sum to 1 however large the scores; scores that overflow make them NaN. Uniform weights leave q
/// and k a gradient of 0.
/// Throws Error when the shapes do not fit each other, the number of heads, or the mask.
AttentionResult attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options);
/// The same from plain ops: reshape, permute, matmul, masked_softmax, ...
AttentionResult attention_unfused(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options);

// --- the parts of the unfused form, for whoever changes something between them ---

/// [B, T, H*d] -> [B, H, T, d], and back.
Tensor split_heads(const Tensor& x, std::int64_t heads);
Tensor join_heads(const Tensor& x);
/// S = q k^T / sqrt(d_k): [B, H, Tq, Tk], before alibi and mask.
Tensor attention_scores(const Tensor& q, const Tensor& k, std::int64_t heads);
/// What alibi adds to the scores: [1, H, Tq, Tk].
Tensor alibi_bias(std::int64_t queries, std::int64_t keys, const AttentionOptions& options, DType dtype);
/// Boolean [B|1, H|1, Tq|1, Tk], causality included: true = may be seen. Undefined when every query sees every key.
/// masked_softmax() takes it as it is; other weights are multiplied by it, as weights * visible.to(weights.dtype()).
Tensor visible_keys(const Mask& mask, std::int64_t queries, std::int64_t keys);
/// P of kind softmax, from scores; alibi and mask by the options.
Tensor softmax_weights(const Tensor& scores, const AttentionOptions& options);
/// P of the kinds that have no scores, linear and uniform.
Tensor weights_without_scores(const Tensor& q, const Tensor& k, const AttentionOptions& options);
/// O = dropout(P) v: [B, Tq, H*d_v]
Tensor apply_weights(const Tensor& weights, const Tensor& v, const AttentionOptions& options);

}  // namespace headscope
