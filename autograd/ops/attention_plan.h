// The sizes and settings of one attention, checked once; shared by the fused kernel and its unfused twin.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "autograd/ops/attention.h"
#include "autograd/ops/kept_values.h"

namespace headscope {

/// Of head `head`, counted from 0, among `heads` (Press et al. 2022).
inline double alibi_slope(std::int64_t head, std::int64_t heads) {
    return std::exp2(-8 * static_cast<double>(head + 1) / static_cast<double>(heads));
}

/// Linear attention: the smallest sum over a row of products phi(q) phi(k) that weights are made from; smaller ones
/// give weights of 0. `largest_feature` is that of the query and the keys it sees, at least 1. Features and products
/// below the smallest normal number m have lost digits: each is off by up to m eps / 2. Beside a sum of m times the
/// largest feature that is about d_k eps in a weight.
template <class T>
T least_linear_total(T largest_feature) {
    return std::numeric_limits<T>::min() * largest_feature;
}

/// Trivially copyable, so that a backward function can keep it.
struct AttentionPlan {
    std::int64_t batch, heads, queries, keys, key_dim, value_dim;
    AttentionKind kind;
    bool causal;
    bool alibi;
    bool masked;                   // a mask tensor is among the saved tensors
    std::int64_t mask_strides[3];  // of the mask tensor along batch, head and query; 0 where it broadcasts
    std::int64_t first_slope, all_slopes;
    double dropout;
    RandomStream random;

    /// Row of weights in the kernel's memory: whole vectors.
    static std::int64_t padded(std::int64_t keys_) { return (keys_ + 15) / 16 * 16; }
    std::int64_t padded_keys() const { return padded(keys); }
    /// Keep the weights for the backward pass, rather than compute them again?
    bool keeps_weights(DType dtype) const {
        return kind == AttentionKind::softmax && is_worth_keeping(batch * heads * queries * padded_keys(), dtype);
    }
    /// Keys that query i may see by causality alone.
    std::int64_t reach(std::int64_t i) const { return causal ? std::min(i + 1, keys) : keys; }
    /// What the products q k are multiplied by before the softmax.
    double factor() const { return 1 / std::sqrt(static_cast<double>(key_dim)); }
    /// Head h's alibi slope.
    double slope(std::int64_t h) const { return alibi_slope(first_slope + h, all_slopes); }
};

/// Throws Error when q, k, v and the options do not fit each other.
AttentionPlan plan_attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options);

}  // namespace headscope
