#include "autograd/ops/layer_norm.h"

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

void check(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
    const auto shapes = [&] {
        return "; x is " + x.shape().str() + ", weight is " + weight.shape().str() + ", bias is " + bias.shape().str();
    };
    if (x.rank() == 0 || x.size(-1) == 0) throw Error("layer_norm: nothing to average over" + shapes());
    const Shape last{x.size(-1)};
    if (!(weight.shape() == last) || !(bias.shape() == last))
        throw Error("layer_norm: weight and bias must have the size of the last axis" + shapes());
    if (weight.dtype() != x.dtype() || bias.dtype() != x.dtype())
        throw Error("layer_norm: dtypes differ; x is " + std::string(name_of(x.dtype())) + ", weight is " +
                    std::string(name_of(weight.dtype())) + ", bias is " + std::string(name_of(bias.dtype())));
    if (!(eps >= 0)) throw Error("layer_norm: eps must not be negative; it is " + std::to_string(eps));
}

/// Rows of one chunk. At most 64 chunks, because each costs the backward a row of partial sums.
std::int64_t grain_of(std::int64_t rows, std::int64_t size) {
    return std::max({std::int64_t{1}, (1 << 13) / size, (rows + 63) / 64});
}

template <class T>
void forward_rows(const T* x, const T* weight, const T* bias, T* y, T* means, T* rstds, std::int64_t begin,
                  std::int64_t end, std::int64_t size, double eps) {
    const T count = static_cast<T>(size);
    for (std::int64_t row = begin; row < end; ++row) {
        const T* in = x + row * size;
        T* out = y + row * size;
        // Two passes: the mean first, then the squares of what is left, so that a large mean costs no digits.
        const T mean = kernels::row_sum(in, size) / count;
        for (std::int64_t i = 0; i < size; ++i) out[i] = in[i] - mean;
        const T rstd = T{1} / std::sqrt(kernels::row_dot(out, out, size) / count + static_cast<T>(eps));
        for (std::int64_t i = 0; i < size; ++i) out[i] = out[i] * rstd * weight[i] + bias[i];
        means[row] = mean;
        rstds[row] = rstd;
    }
}

/// dx of the rows, and their part of dweight and dbias, added to `dweight` and `dbias`.
template <class T>
void backward_rows(const T* dy, const T* x, const T* weight, const T* means, const T* rstds, T* dx, T* dweight,
                   T* dbias, std::int64_t begin, std::int64_t end, std::int64_t size) {
    const T count = static_cast<T>(size);
    std::vector<T> normal_row(static_cast<std::size_t>(size));
    T* normal = normal_row.data();  // (x - mean) rstd
    for (std::int64_t row = begin; row < end; ++row) {
        const T* in = x + row * size;
        const T* g = dy + row * size;
        T* d = dx + row * size;
        const T mean = means[row];
        const T rstd = rstds[row];
        for (std::int64_t i = 0; i < size; ++i) normal[i] = (in[i] - mean) * rstd;
        // y = normal weight + bias
        for (std::int64_t i = 0; i < size; ++i) {
            dweight[i] += g[i] * normal[i];
            dbias[i] += g[i];
            d[i] = g[i] * weight[i];
        }
        // normal = (x - mean) rstd, where mean and rstd depend on every x of the row. With d = dL/dnormal:
        // dx = rstd (d - mean(d) - normal mean(d normal))
        const T mean_d = kernels::row_sum(d, size) / count;
        const T mean_dn = kernels::row_dot(d, normal, size) / count;
        for (std::int64_t i = 0; i < size; ++i) d[i] = rstd * (d[i] - mean_d - normal[i] * mean_dn);
    }
}

template <class T>
void layer_norm_backward(Backward& bw) {
    const Tensor& x = bw.saved(0);
    const std::int64_t size = x.size(-1);
    const std::int64_t rows = x.numel() / size;
    const std::int64_t grain = grain_of(rows, size);
    const std::int64_t chunks = (rows + grain - 1) / grain;
    Tensor dx = Tensor::empty(x.shape(), x.dtype());
    Tensor partial = Tensor::zeros({chunks, 2, size}, x.dtype());

    const T* dy = bw.grad().data<T>();
    const T* in = x.data<T>();
    const T* weight = bw.saved(1).data<T>();
    const T* means = bw.saved(2).data<T>();
    const T* rstds = bw.saved(3).data<T>();
    T* out = dx.data<T>();
    T* sums = partial.data<T>();
    parallel_for(rows, grain, [=](std::int64_t begin, std::int64_t end) {
        T* own = sums + begin / grain * 2 * size;
        backward_rows(dy, in, weight, means, rstds, out, own, own + size, begin, end, size);
    });

    Tensor dweight = Tensor::zeros({size}, x.dtype());
    Tensor dbias = Tensor::zeros({size}, x.dtype());
    T* dw = dweight.data<T>();
    T* db = dbias.data<T>();
    for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
        const T* part = sums + chunk * 2 * size;
        for (std::int64_t i = 0; i < size; ++i) dw[i] += part[i];
        for (std::int64_t i = 0; i < size; ++i) db[i] += part[size + i];
    }
    bw.set(0, std::move(dx));
    bw.set(1, std::move(dweight));
    bw.set(2, std::move(dbias));
}

}  // namespace

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
    check(x, weight, bias, eps);
    const std::int64_t size = x.size(-1);
    const std::int64_t rows = x.numel() / size;
    Tensor y = Tensor::empty(x.shape(), x.dtype());
    Tensor mean = Tensor::empty({rows}, x.dtype());
    Tensor rstd = Tensor::empty({rows}, x.dtype());
    dispatch_float(x.dtype(), "layer_norm", [&](auto zero) {
        using T = decltype(zero);
        const T* in = x.data<T>();
        const T* w = weight.data<T>();
        const T* b = bias.data<T>();
        T* out = y.data<T>();
        T* means = mean.data<T>();
        T* rstds = rstd.data<T>();
        parallel_for(rows, grain_of(rows, size), [=](std::int64_t begin, std::int64_t end) {
            forward_rows(in, w, b, out, means, rstds, begin, end, size, eps);
        });
    });
    return record("layer_norm", {x, weight, bias}, y, {x, weight, mean, rstd}, [](Backward& bw) {
        dispatch_float(bw.grad().dtype(), "layer_norm", [&](auto zero) { layer_norm_backward<decltype(zero)>(bw); });
    });
}

Tensor layer_norm_unfused(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
    check(x, weight, bias, eps);
    const Tensor centred = x - headscope::mean(x, {-1}, true);
    const Tensor variance = headscope::mean(centred * centred, {-1}, true);
    return centred / headscope::sqrt(variance + eps) * weight + bias;
}

}  // namespace headscope
