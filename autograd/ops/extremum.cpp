#include "autograd/ops/extremum.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "autograd/graph.h"
#include "autograd/kernels/axes.h"
#include "autograd/kernels/elementwise.h"
#include "autograd/kernels/vector_math.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/reduction.h"
#include "autograd/ops/shaping.h"
#include "autograd/parallel.h"
#include "autograd/tensor_impl.h"

namespace headscope {
namespace {

/// y[...] = row(values, terms), the values being those over the reduced axes in row-major order.
template <class Row>
Tensor reduce_rows(const char* op, const Tensor& x, const ReducedShapes& to, bool keep_dims, Row row) {
    // The reduced axes are brought to the end, so that what is reduced lies side by side.
    std::vector<int> order;
    for (const bool reduced : {false, true})
        for (int axis = 0; axis < x.rank(); ++axis)
            if (to.which[static_cast<std::size_t>(axis)] == reduced) order.push_back(axis);
    const Tensor rows = std::is_sorted(order.begin(), order.end()) ? x : permute(x.detach(), order);

    Tensor y = Tensor::empty(keep_dims ? to.kept : to.dropped, x.dtype());
    dispatch_float(x.dtype(), op, [&](auto zero) {
        using T = decltype(zero);
        const T* const from = rows.data<T>();
        T* const result = y.data<T>();
        const std::int64_t grain = std::max<std::int64_t>(1, (1 << 13) / std::max<std::int64_t>(1, to.terms));
        parallel_for(y.numel(), grain, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i) result[i] = row(from + i * to.terms, to.terms);
        });
    });
    return y;
}

template <class T>
T largest(const T* x, std::int64_t count) {
    T most = -std::numeric_limits<T>::infinity();
    for (std::int64_t i = 0; i < count; ++i)
        if (x[i] > most || std::isnan(x[i])) most = x[i];  // nothing is greater than a NaN, so it stays
    return most;
}

/// What is taken off before the exponential: the largest value. 0 where that is infinite: inf - inf would be NaN.
template <class T>
T shift_of(const T* x, std::int64_t count) {
    const T most = kernels::row_max(x, count);
    return std::isinf(most) ? T{0} : most;
}

/// sum e^(x - base)
template <class T>
double sum_of_powers(const T* x, std::int64_t count, T base) {
    double total = 0;
    for (std::int64_t i = 0; i < count; ++i) total += static_cast<double>(kernels::fast_exp(x[i] - base));
    return total;
}

}  // namespace

Tensor max(const Tensor& x, std::vector<int> axes, bool keep_dims) {
    const ReducedShapes to = reduced_shapes("max", x.shape(), axes);
    if (to.terms == 0) throw Error("max: there is nothing to choose from; x is " + x.shape().str());
    const Tensor y =
        reduce_rows("max", x, to, keep_dims, [](const auto* values, std::int64_t n) { return largest(values, n); });
    return record("max", {x}, y, {x, y}, [kept = to.kept](Backward& bw) {
        const Tensor most = GraphAccess::view(bw.saved(1), kept);
        const Tensor chosen = kernels::combine(
            "max", bw.saved(0), most, [](auto value, auto top) { return value == top ? decltype(top){1} : 0; });
        const Tensor share = div(GraphAccess::view(bw.grad(), kept), sum_to(chosen, kept));
        bw.set(0, mul(chosen, share));
    });
}

Tensor logsumexp(const Tensor& x, std::vector<int> axes, bool keep_dims) {
    const ReducedShapes to = reduced_shapes("logsumexp", x.shape(), axes);
    const Tensor y = reduce_rows("logsumexp", x, to, keep_dims, [](const auto* values, std::int64_t n) {
        const auto base = shift_of(values, n);
        return base + static_cast<decltype(base + 0)>(std::log(sum_of_powers(values, n, base)));
    });
    return record("logsumexp", {x}, y, {x}, [to](Backward& bw) {
        // dy/dx = e^(x - base) / sum e^(x - base). From y it would be e^(x - y), but y = base + log(sum) is rounded,
        // and has lost the logarithm where the base is large.
        const Tensor& x = bw.saved(0);
        const Tensor base = reduce_rows("logsumexp", x, to, true,
                                        [](const auto* values, std::int64_t n) { return shift_of(values, n); });
        const Tensor total = reduce_rows("logsumexp", x, to, true, [](const auto* values, std::int64_t n) {
            const auto from = shift_of(values, n);
            return static_cast<decltype(from + 0)>(sum_of_powers(values, n, from));
        });
        const Tensor powers = kernels::combine("logsumexp", x, base,
                                               [](auto value, auto from) { return kernels::fast_exp(value - from); });
        const Tensor share =
            kernels::combine("logsumexp", GraphAccess::view(bw.grad(), to.kept), total,
                             [](auto gradient, auto sum) { return sum == 0 ? decltype(sum){0} : gradient / sum; });
        bw.set(0, mul(powers, share));
    });
}

}  // namespace headscope
