// The fused kernel. One task is one (sequence, head): it reads its columns of q, k and v in place, and it alone writes
// its columns of the results, so that heads never meet and every head's arithmetic is the same.
//
// Queries are taken in blocks of `block_queries`. A block needs scores only against the keys its last query may see, so
// under a causal mask about half of the work is left out.
//
// The backward pass computes the weights again instead of storing B*H*Tq*Tk of them. With P the weights, P' those after
// dropout, D the gradient of P:
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

constexpr std::int64_t block_queries = 64;

/// Scratch rows of this thread, kept from call to call.
template <class T>
T* scratch(std::int64_t elements) {
    thread_local std::vector<T> memory;
    const auto count = static_cast<std::size_t>(elements);
    if (memory.size() < count) memory.resize(count);
    return memory.data();
}

template <class T>
void forward_head(AttentionHead<T>& head, T* output, T* weights) {
    const AttentionPlan& plan = head.plan;
    const std::int64_t block = block_queries * plan.keys;
    T* const p = scratch<T>(block + head.feature_count(plan));
    if (plan.kind == AttentionKind::linear) head.use_features(p + block);
    T totals[block_queries] = {};
    for (std::int64_t first = 0; first < plan.queries; first += block_queries) {
        const std::int64_t rows = std::min(block_queries, plan.queries - first);
        const std::int64_t width = plan.reach(first + rows - 1);
        head.weights(first, rows, width, p, totals);
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

/// Gradients of one head. d_output and d_weights are null where nothing depends on them.
template <class T>
void backward_head(AttentionHead<T>& head, const T* d_output, const T* d_weights, T* dq, T* dk, T* dv) {
    const AttentionPlan& plan = head.plan;
    const bool uniform = plan.kind == AttentionKind::uniform, linear = plan.kind == AttentionKind::linear;
    const std::int64_t block = block_queries * plan.keys;
    T* const p = scratch<T>(2 * block + head.feature_count(plan));  // P
    T* const d = p + block;                                         // P', then D, then dS
    const T *const q = head.q, *const k = head.k;
    if (linear) head.use_features(d + block);
    T totals[block_queries] = {};
    for (std::int64_t j = 0; j < plan.keys; ++j) {
        std::fill_n(dk + j * head.key_row(), plan.key_dim, T{});
        std::fill_n(dv + j * head.value_row(), plan.value_dim, T{});
    }
    for (std::int64_t first = 0; first < plan.queries; first += block_queries) {
        const std::int64_t rows = std::min(block_queries, plan.queries - first);
        const std::int64_t width = plan.reach(first + rows - 1);
        head.weights(first, rows, width, p, totals);
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
            if (!uniform)
                kernels::gemm_serial<T>(rows, width, plan.value_dim, {g, head.value_row(), 1},
                                        {head.v, 1, head.value_row()}, d, width, false);
            if (!uniform && plan.dropout > 0) head.apply_dropout(first, rows, width, d, d);
        } else {
            std::fill_n(d, rows * width, T{});
        }
        if (uniform) {  // the weights depend on nothing
            for (std::int64_t i = 0; i < rows; ++i) std::fill_n(dq + (first + i) * head.key_row(), plan.key_dim, T{});
            continue;
        }
        for (std::int64_t i = 0; i < rows; ++i) {
            T* const row = d + i * width;
            if (d_weights != nullptr) {
                const T* g = d_weights + (first + i) * plan.keys;
                for (std::int64_t j = 0; j < width; ++j) row[j] += g[j];
            }
            score_gradient(head, first + i, width, p + i * width, totals[i], row);
        }
        // dq [rows, d_k] = dS [rows, width] * k [width, d_k];   dk [width, d_k] += dS^T [width, rows] * q [rows, d_k]
        kernels::gemm_serial<T>(rows, plan.key_dim, width, {d, width, 1}, {head.k, head.k_row, 1},
                                dq + first * head.key_row(), head.key_row(), false);
        kernels::gemm_serial<T>(width, plan.key_dim, rows, {d, 1, width}, {head.q + first * head.q_row, head.q_row, 1},
                                dk, head.key_row(), true);
    }
    if (!linear) return;
    through_features(plan, plan.queries, head.q, q, dq);
    through_features(plan, plan.keys, head.k, k, dk);
}

}  // namespace

AttentionResult attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
    const AttentionPlan plan = plan_attention(q, k, v, options);
    const Tensor& visible = options.mask.tensor();
    Tensor output = Tensor::empty({plan.batch, plan.queries, v.size(2)}, q.dtype());
    Tensor weights;
    if (options.need_weights) weights = Tensor::empty({plan.batch, plan.heads, plan.queries, plan.keys}, q.dtype());
    dispatch_float(q.dtype(), "attention", [&](auto zero) {
        using T = decltype(zero);
        T* const out = output.data<T>();
        T* const all_weights = weights.defined() ? weights.data<T>() : nullptr;
        parallel_chunks(plan.batch * plan.heads, [&](std::int64_t task) {
            AttentionHead<T> head(plan, task, q, k, v, visible);
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
                    AttentionHead<T> head(plan, task, q, k, v, bw.saved(3));
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

}  // namespace headscope
