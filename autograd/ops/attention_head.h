// One head of one sequence: where its columns begin, and the steps that the forward and the backward kernel share.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "autograd/kernels/gemm.h"
#include "autograd/kernels/vector_math.h"
#include "autograd/ops/attention_plan.h"

namespace headscope {

template <class T>
struct AttentionHead {
    const AttentionPlan& plan;
    std::int64_t b, h;
    const T *q, *k, *v;
    std::int64_t q_row, k_row;  // distance of rows in q and k
    T factor, slope;            // of the scores, and of alibi
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
                    to[i * plan.key_dim + c] = x > 0 ? x + 1 : kernels::fast_exp(x);
                }
        };
        T* const of_keys = memory + plan.queries * plan.key_dim;
        write(q, plan.queries, memory);
        write(k, plan.keys, of_keys);
        q = memory;
        k = of_keys;
        q_row = k_row = plan.key_dim;
    }

    /// P [rows, width] of queries [first, first + rows) on keys [0, width), width = reach of the last query. In linear
    /// attention totals[i] is what row i was divided by; 0 = the query sees nothing.
    void weights(std::int64_t first, std::int64_t rows, std::int64_t width, T* p, T* totals) const {
        // S [rows, width] = q [rows, d_k] * k^T [d_k, width]
        if (plan.kind != AttentionKind::uniform)
            kernels::gemm_serial<T>(rows, width, plan.key_dim, {q + first * q_row, q_row, 1}, {k, 1, k_row}, p, width,
                                    false);
        for (std::int64_t i = 0; i < rows; ++i) {
            T* const row = p + i * width;
            switch (plan.kind) {
                case AttentionKind::softmax: softmax_row(first + i, row, width); break;
                case AttentionKind::linear: totals[i] = linear_row(first + i, row, width); break;
                case AttentionKind::uniform: uniform_row(first + i, row, width); break;
            }
        }
    }

    /// to = from with this block's dropout mask applied; the two may be the same.
    void apply_dropout(std::int64_t first, std::int64_t rows, std::int64_t width, const T* from, T* to) const {
        const T keep = static_cast<T>(1 / (1 - plan.dropout));
        for (std::int64_t i = 0; i < rows; ++i) {
            const std::int64_t place = ((b * plan.heads + h) * plan.queries + first + i) * plan.keys;
            for (std::int64_t j = 0; j < width; ++j) {
                const bool kept = plan.random.uniform(static_cast<std::uint64_t>(place + j)) >= plan.dropout;
                to[i * width + j] = kept ? from[i * width + j] * keep : T{};
            }
        }
    }

private:
    void softmax_row(std::int64_t query, T* row, std::int64_t width) const {
        const std::int64_t reach = plan.reach(query);
        const T scale = factor, fall = slope;  // copies, which no write to the row can change
        for (std::int64_t j = 0; j < reach; ++j) row[j] *= scale;
        if (plan.alibi)
            for (std::int64_t j = 0; j < reach; ++j) row[j] -= fall * static_cast<T>(std::abs(query - j));
        std::int64_t visible = reach;
        if (const std::uint8_t* seen = allowed(query)) {
            for (std::int64_t j = 0; j < reach; ++j) {
                if (seen[j] != 0) continue;
                row[j] = -std::numeric_limits<T>::infinity();
                --visible;
            }
        }
        if (visible == 0) {
            std::fill_n(row, width, T{});
            return;
        }
        const T largest = kernels::row_max(row, reach);
        for (std::int64_t j = 0; j < reach; ++j) row[j] = kernels::fast_exp(row[j] - largest);
        const T inverse = 1 / kernels::row_sum(row, reach);
        for (std::int64_t j = 0; j < reach; ++j) row[j] *= inverse;
        std::fill(row + reach, row + width, T{});
    }

    T linear_row(std::int64_t query, T* row, std::int64_t width) const {
        const std::int64_t reach = plan.reach(query);
        if (const std::uint8_t* seen = allowed(query))
            for (std::int64_t j = 0; j < reach; ++j) row[j] = seen[j] != 0 ? row[j] : T{};
        const T total = kernels::row_sum(row, reach);
        if (total == 0) {  // nothing to see, or features so small that their products vanish
            std::fill_n(row, width, T{});
            return total;
        }
        for (std::int64_t j = 0; j < reach; ++j) row[j] /= total;
        std::fill(row + reach, row + width, T{});
        return total;
    }

    void uniform_row(std::int64_t query, T* row, std::int64_t width) const {
        const std::int64_t reach = plan.reach(query);
        const std::uint8_t* seen = allowed(query);
        std::int64_t visible = reach;
        if (seen != nullptr) visible = std::count_if(seen, seen + reach, [](std::uint8_t one) { return one != 0; });
        const T share = visible == 0 ? T{} : 1 / static_cast<T>(visible);
        for (std::int64_t j = 0; j < reach; ++j) row[j] = seen == nullptr || seen[j] != 0 ? share : T{};
        std::fill(row + reach, row + width, T{});
    }
};

}  // namespace headscope
