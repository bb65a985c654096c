#include "autograd/ops/rms_norm.h"

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>

#include "autograd/graph.h"
#include "autograd/kernels/vector_math.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/norm_rows.h"
#include "autograd/ops/reduction.h"
#include "autograd/parallel.h"

namespace headscope {
namespace {

void check(const Tensor& x, const Tensor& weight, double eps) {
    const auto shapes = [&] { return "; x is " + x.shape().str() + ", weight is " + weight.shape().str(); };
    if (x.rank() == 0 || x.size(-1) == 0) throw Error("rms_norm: nothing to average over" + shapes());
    if (!(weight.shape() == Shape{x.size(-1)}))
        throw Error("rms_norm: weight must have the size of the last axis" + shapes());
    if (weight.dtype() != x.dtype())
        throw Error("rms_norm: dtypes differ; x is " + std::string(name_of(x.dtype())) + ", weight is " +
                    std::string(name_of(weight.dtype())));
    if (!(eps >= 0)) throw Error("rms_norm: eps must not be negative; it is " + std::to_string(eps));
}

template <class T>
void forward_block(const T* x, const T* weight, T* y, T* scales, std::int64_t first, std::int64_t last,
                   std::int64_t size, double eps) {
    using kernels::load_first;
    using kernels::store_first;
    for (std::int64_t row = first; row < last; ++row) {
        const T square = kernels::row_dot(x + row * size, x + row * size, size) / static_cast<T>(size);
        scales[row] = T{1} / std::sqrt(square + static_cast<T>(eps));
    }
    for (std::int64_t row = first; row < last; ++row) {
        const T* const in = x + row * size;
        T* const out = y + row * size;
        kernels::each_vector<T>(size, [=, scale = scales[row]](auto i, auto left) {
            store_first(out + i, left, load_first(in + i, left, T{0}) * scale * load_first(weight + i, left, T{0}));
        });
    }
}

/// dx of the rows, and their part of dweight, added to it.
template <class T>
void backward_block(const T* dy, const T* x, const T* weight, const T* scales, T* dx, T* dweight, std::int64_t first,
                    std::int64_t last, std::int64_t size) {
    using kernels::load_first;
    using kernels::store_first;
    // y = normal weight, normal = x scale. With d = dL/dnormal = dy weight:
    T sums[norm_block];  // of d normal
    for (std::int64_t row = first; row < last; ++row) {
        const T* const in = x + row * size;
        const T* const g = dy + row * size;
        sums[row - first] = kernels::row_sum_of<T>(size, [=, scale = scales[row]](auto i, auto left) {
            const auto normal = load_first(in + i, left, T{0}) * scale;
            const auto gradient = load_first(g + i, left, T{0});
            store_first(dweight + i, left, load_first(dweight + i, left, T{0}) + gradient * normal);
            return gradient * load_first(weight + i, left, T{0}) * normal;
        });
    }
    // scale depends on every x of the row, so dx = scale (d - normal mean(d normal))
    for (std::int64_t row = first; row < last; ++row) {
        const T* const in = x + row * size;
        const T* const g = dy + row * size;
        T* const out = dx + row * size;
        const T mean_dn = sums[row - first] / static_cast<T>(size);
        kernels::each_vector<T>(size, [=, scale = scales[row]](auto i, auto left) {
            const auto normal = load_first(in + i, left, T{0}) * scale;
            const auto d = load_first(g + i, left, T{0}) * load_first(weight + i, left, T{0});
            store_first(out + i, left, scale * (d - normal * mean_dn));
        });
    }
}

template <class T>
void rms_norm_backward(Backward& bw) {
    const Tensor& x = bw.saved(0);
    const std::int64_t size = x.size(-1);
    Tensor dx = Tensor::empty(x.shape(), x.dtype());
    const T* dy = bw.grad().data<T>();
    const T* in = x.data<T>();
    const T* weight = bw.saved(1).data<T>();
    const T* scales = bw.saved(2).data<T>();
    T* out = dx.data<T>();
    auto [dweight] = norm_backward<T, 1>(x, [=](std::int64_t first, std::int64_t last, T* parts) {
        backward_block(dy, in, weight, scales, out, parts, first, last, size);
    });
    bw.set(0, std::move(dx));
    bw.set(1, std::move(dweight));
}

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
    check(x, weight, eps);
    const std::int64_t size = x.size(-1);
    const std::int64_t rows = x.numel() / size;
    Tensor y = Tensor::empty(x.shape(), x.dtype());
    Tensor scale = Tensor::empty({rows}, x.dtype());
    dispatch_float(x.dtype(), "rms_norm", [&](auto zero) {
        using T = decltype(zero);
        const T* in = x.data<T>();
        const T* w = weight.data<T>();
        T* out = y.data<T>();
        T* scales = scale.data<T>();
        parallel_for(rows, norm_grain(rows, size), [=](std::int64_t begin, std::int64_t end) {
            norm_blocks(begin, end, size, [=](std::int64_t first, std::int64_t last) {
                forward_block(in, w, out, scales, first, last, size, eps);
            });
        });
    });
    return record("rms_norm", {x, weight}, y, {x, weight, scale}, [](Backward& bw) {
        dispatch_float(bw.grad().dtype(), "rms_norm", [&](auto zero) { rms_norm_backward<decltype(zero)>(bw); });
    });
}

Tensor rms_norm_unfused(const Tensor& x, const Tensor& weight, double eps) {
    check(x, weight, eps);
    return x / headscope::sqrt(mean(x * x, {-1}, true) + eps) * weight;
}

}  // namespace headscope
