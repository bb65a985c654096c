#include "autograd/ops/layer_norm.h"

#include <array>
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

template <class T>
void forward_block(const T* x, const T* weight, const T* bias, T* y, T* means, T* rstds, std::int64_t first,
                   std::int64_t last, std::int64_t size, double eps) {
    using kernels::load_first;
    using kernels::store_first;
    const T count = static_cast<T>(size);
    // Two passes: the mean first, then the squares of what is left, so that a large mean costs no digits.
    for (std::int64_t row = first; row < last; ++row) means[row] = kernels::row_sum(x + row * size, size) / count;
    for (std::int64_t row = first; row < last; ++row) {
        const T variance = kernels::row_sum_of<T>(size,
                                                  [in = x + row * size, mean = means[row]](auto i, auto left) {
                                                      const auto centred = load_first(in + i, left, mean) - mean;
                                                      return centred * centred;
                                                  }) /
                           count;
        rstds[row] = T{1} / std::sqrt(variance + static_cast<T>(eps));
    }
    for (std::int64_t row = first; row < last; ++row) {
        const T* const in = x + row * size;
        T* const out = y + row * size;
        kernels::each_vector<T>(size, [=, mean = means[row], rstd = rstds[row]](auto i, auto left) {
            const auto normal = (load_first(in + i, left, T{0}) - mean) * rstd;
            store_first(out + i, left, normal * load_first(weight + i, left, T{0}) + load_first(bias + i, left, T{0}));
        });
    }
}

/// dx of the rows, and their part of dweight and dbias, added to them.
template <class T>
void backward_block(const T* dy, const T* x, const T* weight, const T* means, const T* rstds, T* dx, T* dweight,
                    T* dbias, std::int64_t first, std::int64_t last, std::int64_t size) {
    using kernels::load_first;
    using kernels::store_first;
    // y = normal weight + bias, normal = (x - mean) rstd. With d = dL/dnormal = dy weight:
    const auto terms = [=](std::int64_t row) {
        return [=, g = dy + row * size, in = x + row * size, mean = means[row], rstd = rstds[row]](auto i, auto left) {
            const auto normal = (load_first(in + i, left, mean) - mean) * rstd;
            const auto gradient = load_first(g + i, left, T{0});
            return std::array{gradient, normal, gradient * load_first(weight + i, left, T{0})};
        };
    };
    std::array<T, 2> sums[norm_block];  // of d, of d normal
    for (std::int64_t row = first; row < last; ++row) {
        sums[row - first] = kernels::row_sums<T, 2>(size, [=, of = terms(row)](auto i, auto left) {
            const auto [gradient, normal, d] = of(i, left);
            store_first(dweight + i, left, load_first(dweight + i, left, T{0}) + gradient * normal);
            store_first(dbias + i, left, load_first(dbias + i, left, T{0}) + gradient);
            return std::array{d, d * normal};
        });
    }
    // mean and rstd depend on every x of the row, so dx = rstd (d - mean(d) - normal mean(d normal))
    for (std::int64_t row = first; row < last; ++row) {
        const T mean_d = sums[row - first][0] / static_cast<T>(size);
        const T mean_dn = sums[row - first][1] / static_cast<T>(size);
        T* const out = dx + row * size;
        kernels::each_vector<T>(size, [=, of = terms(row), rstd = rstds[row]](auto i, auto left) {
            const auto [gradient, normal, d] = of(i, left);
            store_first(out + i, left, rstd * (d - mean_d - normal * mean_dn));
        });
    }
}

template <class T>
void layer_norm_backward(Backward& bw) {
    const Tensor& x = bw.saved(0);
    const std::int64_t size = x.size(-1);
    Tensor dx = Tensor::empty(x.shape(), x.dtype());
    const T* dy = bw.grad().data<T>();
    const T* in = x.data<T>();
    const T* weight = bw.saved(1).data<T>();
    const T* means = bw.saved(2).data<T>();
    const T* rstds = bw.saved(3).data<T>();
    T* out = dx.data<T>();
    auto [dweight, dbias] = norm_backward<T, 2>(x, [=](std::int64_t first, std::int64_t last, T* parts) {
        backward_block(dy, in, weight, means, rstds, out, parts, parts + size, first, last, size);
    });
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
        parallel_for(rows, norm_grain(rows, size), [=](std::int64_t begin, std::int64_t end) {
            norm_blocks(begin, end, size, [=](std::int64_t first, std::int64_t last) {
                forward_block(in, w, b, out, means, rstds, first, last, size, eps);
            });
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
