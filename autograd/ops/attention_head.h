// One head of one sequence: where its columns begin, and the steps that the forward and the backward kernel share.
//
// Weights, and everything of their shape, are computed for queries in strips of 16 rows; each strip is as wide as its
// last query's reach, rounded up to whole vectors. So under a causal mask nearly half of the work is left out, and no
// loop over a row has a remainder.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "autograd/kernels/gemm.h"
#include "autograd/kernels/transpose.h"
#include "autograd/kernels/vector_math.h"
#include "autograd/ops/attention_plan.h"

namespace headscope {

template <class T>
struct AttentionHead {
    static constexpr std::int64_t strip = 16;

    const AttentionPlan& plan;
    std::int64_t b, h;
    const T *q, *k, *v;
    std::int64_t q_row, k_row;  // distance of rows in q and k
    T factor, slope;            // of the scores, and of alibi
    T largest_feature = 1;      // of linear attention, at least 1; set by use_features
    const std::uint8_t* mask;   // row of query 0, or null

    AttentionHead(const AttentionPlan& p, std::int64_t task, const Tensor& tq, const Tensor& tk, const Tensor& tv,
                  const Tensor& visible)
        : plan(p),
          b(task / p.heads),
          h(task % p.heads),
          q_row(key_row()),
          k_row(key_row()),
          factor(static_cast<T>(p.factor())),
          slope(p.alibi ? static_cast<T>(p.slope(h)) : T{}) {
        q = tq.data<T>() + columns(p.queries, p.key_dim);
        k = tk.data<T>() + columns(p.keys, p.key_dim);
        v = tv.data<T>() + columns(p.keys, p.value_dim);
        mask = p.masked ? visible.data<std::uint8_t>() + b * p.mask_strides[0] + h * p.mask_strides[1] : nullptr;
    }

    /// Offset of this head's first element in a tensor [B, length, H * width].
    std::int64_t columns(std::int64_t length, std::int64_t width) const {
        return (b * length * plan.heads + h) * width;
    }
    std::int64_t key_row() const { return plan.heads * plan.key_dim; }      // distance of rows in the tensors q and k
    std::int64_t value_row() const { return plan.heads * plan.value_dim; }  // ... in v and the output
    /// The mask's row of a query, or null.
    const std::uint8_t* allowed(std::int64_t query) const {
        return mask == nullptr ? nullptr : mask + query * plan.mask_strides[2];
    }

    /// Elements that use_features needs.
    static std::int64_t feature_count(const AttentionPlan& p) {
        return p.kind == AttentionKind::linear ? (p.queries + p.keys) * p.key_dim : 0;
    }

    /// Linear attention goes on with phi(q) and phi(k), written to `memory`, in place of q and k.
    void use_features(T* memory) {
        const auto write = [&](const T* from, std::int64_t length, T* to) {
            for (std::int64_t i = 0; i < length; ++i)
                for (std::int64_t c = 0; c < plan.key_dim; ++c) {
                    const T x = from[i * key_row() + c];
                    const T feature = x > 0 ? x + 1 : kernels::fast_exp(x);
                    largest_feature = std::max(largest_feature, feature);
                    to[i * plan.key_dim + c] = feature;
                }
        };
        T* const of_keys = memory + plan.queries * plan.key_dim;
        write(q, plan.queries, memory);
        write(k, plan.keys, of_keys);
        q = memory;
        k = of_keys;
        q_row = k_row = plan.key_dim;
    }

    /// Keys that some query of the strip from `first` on may see by causality; `last` is the end of the queries.
    std::int64_t strip_reach(std::int64_t first, std::int64_t last) const {
        return plan.reach(std::min(first + strip, last) - 1);
    }
    /// Calls body(first query of the strip, its rows, its reach) for the queries [first, last).
    template <class Body>
    void for_each_strip(std::int64_t first, std::int64_t last, Body body) const {
        for (std::int64_t i = first; i < last; i += strip) body(i, std::min(strip, last - i), strip_reach(i, last));
    }

    /// k^T, or v^T, [width, plan.padded_keys()] to `to`.
    void transpose_keys(T* to) const {
        kernels::transpose<T>(plan.keys, plan.key_dim, k, k_row, to, plan.padded_keys(), plan.padded_keys());
    }
    void transpose_values(T* to) const {
        kernels::transpose<T>(plan.keys, plan.value_dim, v, value_row(), to, plan.padded_keys(), plan.padded_keys());
    }

    /// P of queries [first, last), row i - first of `p`, rows plan.padded_keys() apart; each row is written up to its
    /// strip's padded reach, with zeros at keys that are not seen. In linear attention totals[i - first] is what row i
    /// was divided by; 0 = the query sees nothing. `keys` is from transpose_keys.
    void weights(std::int64_t first, std::int64_t last, const T* keys, T* p, T* totals) const {
        const std::int64_t row = plan.padded_keys();
        for_each_strip(first, last, [&](std::int64_t query, std::int64_t rows, std::int64_t reach) {
            const std::int64_t width = plan.padded(reach);
            T* const scores = p + (query - first) * row;
            // S [rows, width] = q [rows, d_k] * k^T [d_k, width]
            if (plan.kind != AttentionKind::uniform)
                kernels::gemm_serial<T>(rows, width, plan.key_dim, {q + query * q_row, q_row, 1}, {keys, row, 1},
                                        scores, row, false);
            for (std::int64_t i = 0; i < rows; ++i) {
                switch (plan.kind) {
                    case AttentionKind::softmax: softmax_row(query + i, scores + i * row, width); break;
                    case AttentionKind::linear:
                        totals[query - first + i] = linear_row(query + i, scores + i * row, width);
                        break;
                    case AttentionKind::uniform: uniform_row(query + i, scores + i * row, width); break;
                }
            }
        });
    }

    /// to = from with the dropout mask of `rows` queries from `first` on applied, `width` keys of them; the two may be
    /// the same.
    void apply_dropout(std::int64_t first, std::int64_t rows, std::int64_t width, const T* from, T* to) const {
        thread_local std::vector<T> factors;
        factors.resize(static_cast<std::size_t>(width));
        const std::int64_t row = plan.padded_keys();
        for (std::int64_t i = 0; i < rows; ++i, from += row, to += row) {
            const std::int64_t place = ((b * plan.heads + h) * plan.queries + first + i) * plan.keys;
            plan.random.keep(static_cast<std::uint64_t>(place), width, plan.dropout,
                             static_cast<T>(1 / (1 - plan.dropout)), factors.data());
            for (std::int64_t j = 0; j < width; ++j) {
                const T factor_here = factors[static_cast<std::size_t>(j)];
                to[j] = factor_here != 0 ? from[j] * factor_here : T{};
            }
        }
    }

private:
    // In the rows below, [0, width) is in memory and [0, reach) may be seen by causality.

    void softmax_row(std::int64_t query, T* row, std::int64_t width) const {
        constexpr T hidden = -std::numeric_limits<T>::infinity();
        const std::int64_t reach = plan.reach(query);
        T scale = factor;
        if (plan.alibi) {
            const T fall = slope;  // a copy, which no write to the row can change
            for (std::int64_t j = 0; j < reach; ++j)
                row[j] = row[j] * scale - fall * static_cast<T>(std::abs(query - j));
            scale = 1;
        }
        if (const std::uint8_t* seen = allowed(query))
            for (std::int64_t j = 0; j < reach; ++j) row[j] = seen[j] != 0 ? row[j] : hidden;
        std::fill(row + reach, row + width, hidden);
        const T total = kernels::softmax_row(row, width, scale);
        // A row in which nothing is seen becomes 0. Where something is, its scores have overflowed to -inf.
        if (total == 0 && visible_count(query) > 0) std::fill_n(row, reach, std::numeric_limits<T>::quiet_NaN());
    }

    /// Largest feature of the query and of the keys that it sees; at least 1.
    T largest_visible_feature(std::int64_t query) const {
        const auto largest_of = [&](const T* features, T most) {
            return std::max(most, *std::max_element(features, features + plan.key_dim));
        };
        const std::uint8_t* seen = allowed(query);
        T most = largest_of(q + query * q_row, T{1});
        for (std::int64_t j = 0; j < plan.reach(query); ++j)
            if (seen == nullptr || seen[j] != 0) most = largest_of(k + j * k_row, most);
        return most;
    }

    T linear_row(std::int64_t query, T* row, std::int64_t width) const {
        const std::int64_t reach = plan.reach(query);
        if (const std::uint8_t* seen = allowed(query))
            for (std::int64_t j = 0; j < reach; ++j) row[j] = seen[j] != 0 ? row[j] : T{};
        const T total = kernels::row_sum(row, reach);
        // Nothing to see, or features so small that their products have lost digits. The first comparison is quick.
        if (total < least_linear_total(largest_feature) && total < least_linear_total(largest_visible_feature(query))) {
            std::fill_n(row, width, T{});
            return 0;
        }
        for (std::int64_t j = 0; j < reach; ++j) row[j] /= total;
        std::fill(row + reach, row + width, T{});
        return total;
    }

    std::int64_t visible_count(std::int64_t query) const {
        const std::int64_t reach = plan.reach(query);
        const std::uint8_t* seen = allowed(query);
        if (seen == nullptr) return reach;
        return std::count_if(seen, seen + reach, [](std::uint8_t one) { return one != 0; });
    }

    void uniform_row(std::int64_t query, T* row, std::int64_t width) const {
        const std::int64_t reach = plan.reach(query), visible = visible_count(query);
        const std::uint8_t* seen = allowed(query);
        const T share = visible == 0 ? T{} : 1 / static_cast<T>(visible);
        for (std::int64_t j = 0; j < reach; ++j) row[j] = seen == nullptr || seen[j] != 0 ? share : T{};
        std::fill(row + reach, row + width, T{});
    }
};

}  // namespace headscope
