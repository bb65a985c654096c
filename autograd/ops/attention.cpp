// The fused kernel. One task is one (sequence, head): it reads its columns of q, k and v in place, and it alone writes
// its columns of the results, so that heads never meet and every head's arithmetic is the same.
//
// Queries are taken in blocks of `block_queries`, and these in strips (attention_head.h).
//
// The backward pass finds the weights P kept where they are small (kept_values.h), and computes them again where they
// are not: memory does not grow with the square of the length. With P' the weights after dropout, D the gradient of P:
//   O = P' v              dv = P'^T dO        dP' = dO v^T      D = dropout(dP') (+ the gradient of the returned
//   weights)
// softmax
//   P = softmax(S)        dS = P * (D - rowsum(D * P))
//   S = q k^T * c         dq = c dS k         dk = c dS^T q
// linear, z the sums over visible keys
//   P = S / z             dS = (D - rowsum(D * P)) / z where visible
//   S = f g^T             df = dS g           dg = dS^T f       f = phi(q), g = phi(k)
//   phi(x) = elu(x) + 1   dq = df * phi'(q)   phi'(x) = 1 above 0, phi(x) below
#include "autograd/ops/attention.h"

#include <algorithm>
#include <vector>

#include "autograd/graph.h"
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/vector_math.h"
#include "autograd/ops/attention_head.h"
#include "autograd/parallel.h"

namespace headscope {
namespace {

constexpr std::int64_t block_queries = 64;  // whole strips

/// Scratch of this thread, kept from call to call.
template <class T>
T* scratch(std::int64_t elements) {
    thread_local std::vector<T> memory;
    const auto count = static_cast<std::size_t>(elements);
    if (memory.size() < count) memory.resize(count);
    return memory.data();
}

/// `kept`, [queries, padded keys], receives P where the backward pass will want it; `weights`, [queries, keys], where
/// the caller asked for it. Either may be null.
template <class T>
void forward_head(AttentionHead<T>& head, T* output, T* kept, T* weights) {
    const AttentionPlan& plan = head.plan;
    const std::int64_t row = plan.padded_keys(), block = block_queries * row;
    T* const keys = scratch<T>(plan.key_dim * row + 2 * block + head.feature_count(plan));  // k^T
    T* const own = keys + plan.key_dim * row;                                               // P
    T* const dropped = own + block;                                                         // P'
    if (plan.kind == AttentionKind::linear) head.use_features(dropped + block);
    if (plan.kind != AttentionKind::uniform) head.transpose_keys(keys);
    T totals[block_queries] = {};
    for (std::int64_t first = 0; first < plan.queries; first += block_queries) {
        const std::int64_t last = std::min(first + block_queries, plan.queries);
        T* const p = kept != nullptr ? kept + first * row : own;
        head.weights(first, last, keys, p, totals);
        head.for_each_strip(first, last, [&](std::int64_t query, std::int64_t rows, std::int64_t reach) {
            const T* used = p + (query - first) * row;
            for (std::int64_t i = 0; weights != nullptr && i < rows; ++i) {
                T* const to = weights + (query + i) * plan.keys;
                std::copy_n(used + i * row, reach, to);
                std::fill(to + reach, to + plan.keys, T{});
            }
            if (plan.dropout > 0) {
                head.apply_dropout(query, rows, reach, used, dropped);
                used = dropped;
            }
            // O [rows, d_v] = P' [rows, reach] * v [reach, d_v]
            kernels::gemm_serial<T>(rows, plan.value_dim, reach, {used, row, 1}, {head.v, head.value_row(), 1},
                                    output + query * head.value_row(), head.value_row(), false);
        });
    }
}

/// row = dS of one query, from D. In softmax attention with the factor c of the scores already in it.
template <class T>
void score_gradient(const AttentionHead<T>& head, std::int64_t query, std::int64_t width, const T* weight, T total,
                    T* row) {
    const T mean = kernels::row_dot(row, weight, width);
    if (head.plan.kind == AttentionKind::softmax) {
        const T factor = head.factor;
        for (std::int64_t j = 0; j < width; ++j) row[j] = weight[j] * (row[j] - mean) * factor;
        return;
    }
    const std::int64_t reach = total == 0 ? 0 : head.plan.reach(query);
    for (std::int64_t j = 0; j < reach; ++j) row[j] = (row[j] - mean) / total;
    if (const std::uint8_t* seen = head.allowed(query))
        for (std::int64_t j = 0; j < reach; ++j) row[j] = seen[j] != 0 ? row[j] : T{};
    std::fill(row + reach, row + width, T{});
}

/// gradient *= phi'(x), over `length` rows of one head; `features` is phi(x).
template <class T>
void through_features(const AttentionPlan& plan, std::int64_t length, const T* features, const T* x, T* gradient) {
    const std::int64_t row = plan.heads * plan.key_dim;
    for (std::int64_t i = 0; i < length; ++i)
        for (std::int64_t c = 0; c < plan.key_dim; ++c)
            if (!(x[i * row + c] > 0)) gradient[i * row + c] *= features[i * plan.key_dim + c];
}

template <class T>
void clear_rows(T* x, std::int64_t rows, std::int64_t width, std::int64_t row) {
    for (std::int64_t i = 0; i < rows; ++i) std::fill_n(x + i * row, width, T{});
}

/// y [keys, width] = (or, for keys below `begun`, +=) s^T x, where s [queries, keys] of queries [first, last) has
/// strips, and x has `width` columns. Keys are taken in blocks as high as a strip, each with the queries that may see
/// it.
template <class T>
void to_keys(const AttentionHead<T>& head, std::int64_t first, std::int64_t last, std::int64_t begun, const T* s,
             const T* x, std::int64_t x_row, std::int64_t width, T* y, std::int64_t y_row) {
    const AttentionPlan& plan = head.plan;
    const std::int64_t row = plan.padded_keys(), end = plan.reach(last - 1);
    std::int64_t query = first;
    for (std::int64_t key = 0; key < end; key += head.strip) {
        while (head.strip_reach(query, last) <= key) query += head.strip;
        kernels::gemm_serial<T>(std::min(head.strip, end - key), width, last - query,
                                {s + (query - first) * row + key, 1, row}, {x + query * x_row, x_row, 1},
                                y + key * y_row, y_row, key < begun);
    }
}

/// Gradients of one head. d_output and d_weights are null where nothing depends on them; `kept` is P, or null.
template <class T>
void backward_head(AttentionHead<T>& head, const T* kept, const T* d_output, const T* d_weights, T* dq, T* dk, T* dv) {
    const AttentionPlan& plan = head.plan;
    const bool uniform = plan.kind == AttentionKind::uniform, linear = plan.kind == AttentionKind::linear;
    const std::int64_t row = plan.padded_keys(), block = block_queries * row;
    T* const keys = scratch<T>((plan.key_dim + plan.value_dim) * row + 3 * block + head.feature_count(plan));  // k^T
    T* const values = keys + plan.key_dim * row;                                                               // v^T
    T* const own = values + plan.value_dim * row;                                                              // P
    T* const dropped = own + block;                                                                            // P'
    T* const d = dropped + block;  // D, then dS
    const T *const q = head.q, *const k = head.k;
    if (linear) head.use_features(d + block);
    if (kept == nullptr && !uniform) head.transpose_keys(keys);
    if (d_output != nullptr && !uniform) head.transpose_values(values);
    T totals[block_queries] = {};
    std::int64_t begun = 0;  // keys whose gradients hold something already, in whole strips
    for (std::int64_t first = 0; first < plan.queries; first += block_queries) {
        const std::int64_t last = std::min(first + block_queries, plan.queries);
        const T* const p = kept != nullptr ? kept + first * row : own;
        if (kept == nullptr) head.weights(first, last, keys, own, totals);
        head.for_each_strip(first, last, [&](std::int64_t query, std::int64_t rows, std::int64_t reach) {
            const std::int64_t offset = (query - first) * row, width = plan.padded(reach);
            if (d_output != nullptr && plan.dropout > 0)
                head.apply_dropout(query, rows, reach, p + offset, dropped + offset);
            if (uniform) {  // the weights depend on nothing
                clear_rows(dq + query * head.key_row(), rows, plan.key_dim, head.key_row());
                return;
            }
            if (d_output != nullptr) {
                // dP' [rows, width] = dO [rows, d_v] * v^T [d_v, width]
                kernels::gemm_serial<T>(rows, width, plan.value_dim,
                                        {d_output + query * head.value_row(), head.value_row(), 1}, {values, row, 1},
                                        d + offset, row, false);
                if (plan.dropout > 0) head.apply_dropout(query, rows, reach, d + offset, d + offset);
            } else {
                clear_rows(d + offset, rows, width, row);
            }
            for (std::int64_t i = 0; i < rows; ++i) {
                T* const gradient = d + offset + i * row;
                if (d_weights != nullptr) {
                    const T* g = d_weights + (query + i) * plan.keys;
                    for (std::int64_t j = 0; j < reach; ++j) gradient[j] += g[j];
                }
                score_gradient(head, query + i, width, p + offset + i * row, totals[query - first + i], gradient);
            }
            // dq [rows, d_k] = dS [rows, reach] * k [reach, d_k]
            kernels::gemm_serial<T>(rows, plan.key_dim, reach, {d + offset, row, 1}, {head.k, head.k_row, 1},
                                    dq + query * head.key_row(), head.key_row(), false);
        });
        if (d_output != nullptr)
            to_keys(head, first, last, begun, plan.dropout > 0 ? dropped : p, d_output, head.value_row(),
                    plan.value_dim, dv, head.value_row());
        if (!uniform) to_keys(head, first, last, begun, d, head.q, head.q_row, plan.key_dim, dk, head.key_row());
        begun = plan.reach(last - 1);
    }
    if (d_output == nullptr) clear_rows(dv, plan.keys, plan.value_dim, head.value_row());
    else clear_rows(dv + begun * head.value_row(), plan.keys - begun, plan.value_dim, head.value_row());
    if (uniform) clear_rows(dk, plan.keys, plan.key_dim, head.key_row());
    else clear_rows(dk + begun * head.key_row(), plan.keys - begun, plan.key_dim, head.key_row());
    if (!linear) return;
    through_features(plan, plan.queries, head.q, q, dq);
    through_features(plan, plan.keys, head.k, k, dk);
}

/// Order of the tensors that attention saves for its backward pass.
enum Saved { saved_q, saved_k, saved_v, saved_visible, saved_weights };

}  // namespace

AttentionResult attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
    const AttentionPlan plan = plan_attention(q, k, v, options);
    const Tensor& visible = options.mask.tensor();
    Tensor output = Tensor::empty({plan.batch, plan.queries, v.size(2)}, q.dtype());
    Tensor weights, kept;
    if (options.need_weights) weights = Tensor::empty({plan.batch, plan.heads, plan.queries, plan.keys}, q.dtype());
    if (plan.keeps_weights(q.dtype()) && records({q, k, v}))
        kept = Tensor::empty({plan.batch, plan.heads, plan.queries, plan.padded_keys()}, q.dtype());
    dispatch_float(q.dtype(), "attention", [&](auto zero) {
        using T = decltype(zero);
        T* const out = output.data<T>();
        T* const all_weights = weights.defined() ? weights.data<T>() : nullptr;
        T* const all_kept = kept.defined() ? kept.data<T>() : nullptr;
        parallel_chunks(plan.batch * plan.heads, [&](std::int64_t task) {
            AttentionHead<T> head(plan, task, q, k, v, visible);
            const std::int64_t query = task * plan.queries;
            forward_head(head, out + head.columns(plan.queries, plan.value_dim),
                         all_kept != nullptr ? all_kept + query * plan.padded_keys() : nullptr,
                         all_weights != nullptr ? all_weights + query * plan.keys : nullptr);
        });
    });
    const std::vector<Tensor> results = record(
        "attention", {q, k, v}, std::vector<Tensor>{output, weights}, {q, k, v, visible, kept}, [plan](Backward& bw) {
            const Tensor& q = bw.saved(saved_q);
            const Tensor& k = bw.saved(saved_k);
            const Tensor& v = bw.saved(saved_v);
            Tensor dq = Tensor::empty(q.shape(), q.dtype());
            Tensor dk = Tensor::empty(k.shape(), k.dtype());
            Tensor dv = Tensor::empty(v.shape(), v.dtype());
            dispatch_float(q.dtype(), "attention", [&](auto zero) {
                using T = decltype(zero);
                const T* const d_output = bw.grad(0).defined() ? bw.grad(0).data<T>() : nullptr;
                const T* const d_weights = bw.grad(1).defined() ? bw.grad(1).data<T>() : nullptr;
                const T* const kept = bw.saved(saved_weights).defined() ? bw.saved(saved_weights).data<T>() : nullptr;
                T* const pq = dq.data<T>();
                T* const pk = dk.data<T>();
                T* const pv = dv.data<T>();
                parallel_chunks(plan.batch * plan.heads, [&](std::int64_t task) {
                    AttentionHead<T> head(plan, task, q, k, v, bw.saved(saved_visible));
                    const std::int64_t query = task * plan.queries;
                    backward_head(head, kept != nullptr ? kept + query * plan.padded_keys() : nullptr,
                                  d_output != nullptr ? d_output + head.columns(plan.queries, plan.value_dim) : nullptr,
                                  d_weights != nullptr ? d_weights + query * plan.keys : nullptr,
                                  pq + head.columns(plan.queries, plan.key_dim),
                                  pk + head.columns(plan.keys, plan.key_dim),
                                  pv + head.columns(plan.keys, plan.value_dim));
                });
            });
            if (bw.needs(0)) bw.set(0, dq);
            if (bw.needs(1)) bw.set(1, dk);
            if (bw.needs(2)) bw.set(2, dv);
        });
    return {results[0], results[1]};
}

}  // namespace headscope
