// The fused kernel. One task is one (sequence, head): it reads its columns of q, k and v in place, and it alone writes
// its columns of the results, so that heads never meet and every head's arithmetic is the same.
//
// Queries are taken in blocks of `block_queries`. A block needs scores only against the keys its last query may see, so
// under a causal mask about half of the work is left out.
//
// The backward pass computes the weights again instead of storing B*H*Tq*Tk of them. With P the weights, P' those after
// dropout, D the gradient of P:
//   O = P' v          dv = P'^T dO        dP' = dO v^T      D = dropout(dP') (+ the gradient of the returned weights)
//   P = softmax(S)    dS = P * (D - rowsum(D * P))
//   S = q k^T * c     dq = c dS k         dk = c dS^T q
#include "autograd/ops/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "autograd/graph.h"
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/vector_math.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/dropout.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/shaping.h"
#include "autograd/ops/softmax.h"
#include "autograd/parallel.h"

namespace headscope {
namespace {

constexpr std::int64_t block_queries = 64;

/// The sizes and settings of one attention; trivially copyable, so that the backward function can keep it.
struct Plan {
    std::int64_t batch, heads, queries, keys, key_dim, value_dim;
    bool causal;
    bool masked;                   // a mask tensor is among the saved tensors
    std::int64_t mask_strides[3];  // of the mask tensor along batch, head and query; 0 where it broadcasts
    double dropout;
    RandomStream random;

    /// Keys that query i may see by causality alone.
    std::int64_t reach(std::int64_t i) const { return causal ? std::min(i + 1, keys) : keys; }
};

Plan make_plan(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
    const auto complain = [&](const std::string& what) {
        throw Error("attention: " + what + "; q is " + q.shape().str() + ", k is " + k.shape().str() + ", v is " +
                    v.shape().str() + ", num_heads is " + std::to_string(options.num_heads));
    };
    if (q.rank() != 3 || k.rank() != 3 || v.rank() != 3) complain("q, k and v must be [B, T, H*d]");
    if (q.dtype() != k.dtype() || q.dtype() != v.dtype()) complain("the dtypes of q, k and v differ");
    const std::int64_t heads = options.num_heads;
    if (heads < 1 || q.size(2) % heads != 0 || v.size(2) % heads != 0 || q.size(2) == 0 || v.size(2) == 0)
        complain("the number of heads does not divide the last axis");
    if (k.size(2) != q.size(2)) complain("q and k must have the same width");
    if (k.size(0) != q.size(0) || v.size(0) != q.size(0)) complain("the batch sizes differ");
    if (k.size(1) != v.size(1)) complain("k and v must have the same length");
    if (!(options.dropout >= 0 && options.dropout < 1)) complain("dropout must be in [0, 1)");
    if (options.dropout > 0 && options.random == nullptr) complain("dropout needs a random stream");
    options.mask.check(q.size(0), heads, q.size(1), k.size(1));

    const Tensor& visible = options.mask.tensor();
    Plan plan{q.size(0),
              heads,
              q.size(1),
              k.size(1),
              q.size(2) / heads,
              v.size(2) / heads,
              options.mask.is_causal(),
              visible.defined(),
              {0, 0, 0},
              options.dropout,
              options.random != nullptr ? *options.random : RandomStream(0, "")};
    if (visible.defined()) {
        const Shape& s = visible.shape();
        plan.mask_strides[0] = s[0] == 1 ? 0 : s[1] * s[2] * s[3];
        plan.mask_strides[1] = s[1] == 1 ? 0 : s[2] * s[3];
        plan.mask_strides[2] = s[2] == 1 ? 0 : s[3];
    }
    return plan;
}

/// Scratch rows of this thread, kept from call to call.
template <class T>
T* scratch(std::size_t count) {
    thread_local std::vector<T> memory;
    if (memory.size() < count) memory.resize(count);
    return memory.data();
}

/// One head of one sequence: where its columns begin, and the steps that forward and backward share.
template <class T>
struct Head {
    const Plan& plan;
    std::int64_t b, h;
    const T *q, *k, *v;
    const std::uint8_t* mask;  // row of query 0, or null

    Head(const Plan& p, std::int64_t task, const Tensor& tq, const Tensor& tk, const Tensor& tv, const Tensor& visible)
        : plan(p), b(task / p.heads), h(task % p.heads) {
        q = tq.data<T>() + columns(p.queries, p.key_dim);
        k = tk.data<T>() + columns(p.keys, p.key_dim);
        v = tv.data<T>() + columns(p.keys, p.value_dim);
        mask = p.masked ? visible.data<std::uint8_t>() + b * p.mask_strides[0] + h * p.mask_strides[1] : nullptr;
    }

    /// Offset of this head's first element in a tensor [B, length, H * width].
    std::int64_t columns(std::int64_t length, std::int64_t width) const {
        return (b * length * plan.heads + h) * width;
    }
    std::int64_t key_row() const { return plan.heads * plan.key_dim; }      // distance of rows in q and k
    std::int64_t value_row() const { return plan.heads * plan.value_dim; }  // ... in v and the output

    /// weights [rows, width] of queries [first, first + rows) on keys [0, width), width = reach of the last query.
    void probabilities(std::int64_t first, std::int64_t rows, std::int64_t width, T* weights) const {
        // S [rows, width] = q [rows, d_k] * k^T [d_k, width]
        kernels::gemm_serial<T>(rows, width, plan.key_dim, {q + first * key_row(), key_row(), 1}, {k, 1, key_row()},
                                weights, width, false);
        const T factor = static_cast<T>(1 / std::sqrt(static_cast<double>(plan.key_dim)));
        for (std::int64_t i = 0; i < rows; ++i) {
            T* row = weights + i * width;
            const std::int64_t reach = plan.reach(first + i);
            std::int64_t visible = reach;
            for (std::int64_t j = 0; j < reach; ++j) row[j] *= factor;
            if (mask != nullptr) {
                const std::uint8_t* allowed = mask + (first + i) * plan.mask_strides[2];
                for (std::int64_t j = 0; j < reach; ++j) {
                    if (allowed[j] != 0) continue;
                    row[j] = -std::numeric_limits<T>::infinity();
                    --visible;
                }
            }
            if (visible == 0) {
                std::fill_n(row, width, T{});
                continue;
            }
            const T largest = kernels::row_max(row, reach);
            for (std::int64_t j = 0; j < reach; ++j) row[j] = kernels::fast_exp(row[j] - largest);
            const T inverse = 1 / kernels::row_sum(row, reach);
            for (std::int64_t j = 0; j < reach; ++j) row[j] *= inverse;
            std::fill(row + reach, row + width, T{});
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
};

template <class T>
void forward_head(const Head<T>& head, T* output, T* weights) {
    const Plan& plan = head.plan;
    T* const p = scratch<T>(static_cast<std::size_t>(block_queries * plan.keys));
    for (std::int64_t first = 0; first < plan.queries; first += block_queries) {
        const std::int64_t rows = std::min(block_queries, plan.queries - first);
        const std::int64_t width = plan.reach(first + rows - 1);
        head.probabilities(first, rows, width, p);
        if (weights != nullptr) {
            for (std::int64_t i = 0; i < rows; ++i) {
                T* row = weights + (first + i) * plan.keys;
                std::copy_n(p + i * width, width, row);
                std::fill(row + width, row + plan.keys, T{});
            }
        }
        if (plan.dropout > 0) head.apply_dropout(first, rows, width, p, p);
        // O [rows, d_v] = P' [rows, width] * v [width, d_v]
        kernels::gemm_serial<T>(rows, plan.value_dim, width, {p, width, 1}, {head.v, head.value_row(), 1},
                                output + first * head.value_row(), head.value_row(), false);
    }
}

/// Gradients of one head. d_output and d_weights are null where nothing depends on them.
template <class T>
void backward_head(const Head<T>& head, const T* d_output, const T* d_weights, T* dq, T* dk, T* dv) {
    const Plan& plan = head.plan;
    const std::int64_t block = block_queries * plan.keys;
    T* const p = scratch<T>(static_cast<std::size_t>(2 * block));  // P
    T* const d = p + block;                                        // P', then D, then dS
    const T factor = static_cast<T>(1 / std::sqrt(static_cast<double>(plan.key_dim)));
    for (std::int64_t j = 0; j < plan.keys; ++j) {
        std::fill_n(dk + j * head.key_row(), plan.key_dim, T{});
        std::fill_n(dv + j * head.value_row(), plan.value_dim, T{});
    }
    for (std::int64_t first = 0; first < plan.queries; first += block_queries) {
        const std::int64_t rows = std::min(block_queries, plan.queries - first);
        const std::int64_t width = plan.reach(first + rows - 1);
        head.probabilities(first, rows, width, p);
        if (d_output != nullptr) {
            const T* g = d_output + first * head.value_row();
            const T* used = p;
            if (plan.dropout > 0) {
                head.apply_dropout(first, rows, width, p, d);
                used = d;
            }
            // dv [width, d_v] += P'^T [width, rows] * dO [rows, d_v]
            kernels::gemm_serial<T>(width, plan.value_dim, rows, {used, 1, width}, {g, head.value_row(), 1}, dv,
                                    head.value_row(), true);
            // dP' [rows, width] = dO [rows, d_v] * v^T [d_v, width]
            kernels::gemm_serial<T>(rows, width, plan.value_dim, {g, head.value_row(), 1},
                                    {head.v, 1, head.value_row()}, d, width, false);
            if (plan.dropout > 0) head.apply_dropout(first, rows, width, d, d);
        } else {
            std::fill_n(d, rows * width, T{});
        }
        for (std::int64_t i = 0; i < rows; ++i) {
            const T* weight = p + i * width;
            T* row = d + i * width;
            if (d_weights != nullptr) {
                const T* g = d_weights + (first + i) * plan.keys;
                for (std::int64_t j = 0; j < width; ++j) row[j] += g[j];
            }
            const T mean = kernels::row_dot(row, weight, width);
            for (std::int64_t j = 0; j < width; ++j) row[j] = weight[j] * (row[j] - mean) * factor;
        }
        // dq [rows, d_k] = dS [rows, width] * k [width, d_k];   dk [width, d_k] += dS^T [width, rows] * q [rows, d_k]
        kernels::gemm_serial<T>(rows, plan.key_dim, width, {d, width, 1}, {head.k, head.key_row(), 1},
                                dq + first * head.key_row(), head.key_row(), false);
        kernels::gemm_serial<T>(width, plan.key_dim, rows, {d, 1, width},
                                {head.q + first * head.key_row(), head.key_row(), 1}, dk, head.key_row(), true);
    }
}

}  // namespace

AttentionResult attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
    const Plan plan = make_plan(q, k, v, options);
    const Tensor& visible = options.mask.tensor();
    Tensor output = Tensor::empty({plan.batch, plan.queries, v.size(2)}, q.dtype());
    Tensor weights;
    if (options.need_weights) weights = Tensor::empty({plan.batch, plan.heads, plan.queries, plan.keys}, q.dtype());
    dispatch_float(q.dtype(), "attention", [&](auto zero) {
        using T = decltype(zero);
        T* const out = output.data<T>();
        T* const all_weights = weights.defined() ? weights.data<T>() : nullptr;
        parallel_chunks(plan.batch * plan.heads, [&](std::int64_t task) {
            const Head<T> head(plan, task, q, k, v, visible);
            forward_head(head, out + head.columns(plan.queries, plan.value_dim),
                         all_weights != nullptr ? all_weights + task * plan.queries * plan.keys : nullptr);
        });
    });
    const std::vector<Tensor> results =
        record("attention", {q, k, v}, std::vector<Tensor>{output, weights}, {q, k, v, visible}, [plan](Backward& bw) {
            const Tensor& q = bw.saved(0);
            const Tensor& k = bw.saved(1);
            const Tensor& v = bw.saved(2);
            Tensor dq = Tensor::empty(q.shape(), q.dtype());
            Tensor dk = Tensor::empty(k.shape(), k.dtype());
            Tensor dv = Tensor::empty(v.shape(), v.dtype());
            dispatch_float(q.dtype(), "attention", [&](auto zero) {
                using T = decltype(zero);
                const T* const d_output = bw.grad(0).defined() ? bw.grad(0).data<T>() : nullptr;
                const T* const d_weights = bw.grad(1).defined() ? bw.grad(1).data<T>() : nullptr;
                T* const pq = dq.data<T>();
                T* const pk = dk.data<T>();
                T* const pv = dv.data<T>();
                parallel_chunks(plan.batch * plan.heads, [&](std::int64_t task) {
                    const Head<T> head(plan, task, q, k, v, bw.saved(3));
                    backward_head(
                        head, d_output != nullptr ? d_output + head.columns(plan.queries, plan.value_dim) : nullptr,
                        d_weights != nullptr ? d_weights + task * plan.queries * plan.keys : nullptr,
                        pq + head.columns(plan.queries, plan.key_dim), pk + head.columns(plan.keys, plan.key_dim),
                        pv + head.columns(plan.keys, plan.value_dim));
                });
            });
            if (bw.needs(0)) bw.set(0, dq);
            if (bw.needs(1)) bw.set(1, dk);
            if (bw.needs(2)) bw.set(2, dv);
        });
    return {results[0], results[1]};
}

AttentionResult attention_unfused(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
    const Plan plan = make_plan(q, k, v, options);
    // [B, T, H*d] -> [B, H, T, d]
    const auto split = [&](const Tensor& x, std::int64_t length, std::int64_t width) {
        return permute(reshape(x, {plan.batch, length, plan.heads, width}), {0, 2, 1, 3});
    };
    const Tensor qh = split(q, plan.queries, plan.key_dim);
    const Tensor kh = split(k, plan.keys, plan.key_dim);
    const Tensor vh = split(v, plan.keys, plan.value_dim);
    const Tensor scores = scale(matmul(qh, kh, false, true), 1 / std::sqrt(static_cast<double>(plan.key_dim)));

    Mask mask = options.mask;
    if (plan.causal) {
        Tensor lower = Tensor::zeros({1, 1, plan.queries, plan.keys}, DType::boolean);
        for (std::int64_t i = 0; i < plan.queries; ++i)
            std::fill_n(lower.data<std::uint8_t>() + i * plan.keys, plan.reach(i), std::uint8_t{1});
        mask = mask & Mask::visible(lower);
    }
    const Tensor weights = mask.tensor().defined() ? masked_softmax(scores, mask.tensor()) : softmax(scores);
    const Tensor used = plan.dropout > 0 ? dropout(weights, plan.dropout, plan.random) : weights;
    const Tensor heads = matmul(used, vh);  // [B, H, Tq, d_v]
    const Tensor output =
        reshape(permute(heads, {0, 2, 1, 3}), {plan.batch, plan.queries, plan.heads * plan.value_dim});
    return {output, options.need_weights ? weights : Tensor{}};
}

}  // namespace headscope
