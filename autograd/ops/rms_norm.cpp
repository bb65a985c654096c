#include "autograd/ops/rms_norm.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "autograd/graph.h"
#include "autograd/kernels/vector_math.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/elementwise.h"
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

/// Rows of one chunk. At most 64 chunks, because each costs the backward a row of partial sums.
std::int64_t grain_of(std::int64_t rows, std::int64_t size) {
    return std::max({std::int64_t{1}, (1 << 13) / size, (rows + 63) / 64});
}

template <class T>
void forward_rows(const T* x, const T* weight, T* y, T* scales, std::int64_t begin, std::int64_t end, std::int64_t size,
                  double eps) {
    for (std::int64_t row = begin; row < end; ++row) {
        const T* in = x + row * size;
        T* out = y + row * size;
        const T square = kernels::row_dot(in, in, size) / static_cast<T>(size);
        const T scale = T{1} / std::sqrt(square + static_cast<T>(eps));
        for (std::int64_t i = 0; i < size; ++i) out[i] = in[i] * scale * weight[i];
        scales[row] = scale;
    }
}

/// dx of the rows, and their part of dweight, added to `dweight`.
template <class T>
void backward_rows(const T* dy, const T* x, const T* weight, const T* scales, T* dx, T* dweight, std::int64_t begin,
                   std::int64_t end, std::int64_t size) {
    std::vector<T> normal_row(static_cast<std::size_t>(size));
    T* normal = normal_row.data();  // x scale
    for (std::int64_t row = begin; row < end; ++row) {
        const T* in = x + row * size;
        const T* g = dy + row * size;
        T* d = dx + row * size;
        const T scale = scales[row];
        for (std::int64_t i = 0; i < size; ++i) normal[i] = in[i] * scale;
        // y = normal weight
        for (std::int64_t i = 0; i < size; ++i) {
            dweight[i] += g[i] * normal[i];
            d[i] = g[i] * weight[i];
        }
        // normal = x scale, where scale depends on every x of the row. With d = dL/dnormal:
        // dx = scale (d - normal mean(d normal))
        const T mean_dn = kernels::row_dot(d, normal, size) / static_cast<T>(size);
        for (std::int64_t i = 0; i < size; ++i) d[i] = scale * (d[i] - normal[i] * mean_dn);
    }
}

template <class T>
void rms_norm_backward(Backward& bw) {
    const Tensor& x = bw.saved(0);
    const std::int64_t size = x.size(-1);
    const std::int64_t rows = x.numel() / size;
    const std::int64_t grain = grain_of(rows, size);
    const std::int64_t chunks = (rows + grain - 1) / grain;
    Tensor dx = Tensor::empty(x.shape(), x.dtype());
    Tensor partial = Tensor::zeros({chunks, size}, x.dtype());

    const T* dy = bw.grad().data<T>();
    const T* in = x.data<T>();
    const T* weight = bw.saved(1).data<T>();
    const T* scales = bw.saved(2).data<T>();
    T* out = dx.data<T>();
    T* sums = partial.data<T>();
    parallel_for(rows, grain, [=](std::int64_t begin, std::int64_t end) {
        backward_rows(dy, in, weight, scales, out, sums + begin / grain * size, begin, end, size);
    });

    Tensor dweight = Tensor::zeros({size}, x.dtype());
    T* dw = dweight.data<T>();
    for (std::int64_t chunk = 0; chunk < chunks; ++chunk)
        for (std::int64_t i = 0; i < size; ++i) dw[i] += sums[chunk * size + i];
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
        parallel_for(rows, grain_of(rows, size), [=](std::int64_t begin, std::int64_t end) {
            forward_rows(in, w, out, scales, begin, end, size, eps);
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
