#include "autograd/ops/softmax.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "autograd/graph.h"
#include "autograd/kernels/vector_math.h"
#include "autograd/ops/shaping.h"
#include "autograd/parallel.h"

namespace headscope {
namespace {

/// The last axis as rows.
struct Rows {
    std::int64_t count;
    std::int64_t size;
    std::int64_t grain;  ///< rows of one chunk
};

Rows rows_of(const Tensor& x, const char* op) {
    if (x.rank() == 0) throw Error(std::string(op) + ": needs at least one axis; x is a scalar");
    const std::int64_t size = x.size(-1);
    if (size == 0) throw Error(std::string(op) + ": the last axis is empty; x is " + x.shape().str());
    return {x.numel() / size, size, std::max<std::int64_t>(1, (1 << 13) / size)};
}

/// y = exp(x - max) / sum, in place. A row of -inf alone becomes NaN.
template <class T>
void softmax_row(T* y, std::int64_t n) {
    const T most = kernels::row_max(y, n);
    for (std::int64_t i = 0; i < n; ++i) y[i] = kernels::fast_exp(y[i] - most);
    const T total = kernels::row_sum(y, n);
    for (std::int64_t i = 0; i < n; ++i) y[i] /= total;
}

/// dx = y (dy - sum dy y), from y_i = e_i / sum e: dy_i/dx_j = y_i ([i = j] - y_j).
Tensor softmax_backward(const Tensor& dy, const Tensor& y) {
    Tensor dx = Tensor::empty(y.shape(), y.dtype());
    const Rows rows = rows_of(y, "softmax");
    dispatch_float(y.dtype(), "softmax", [&](auto zero) {
        using T = decltype(zero);
        const T* gradients = dy.data<T>();
        const T* weights = y.data<T>();
        T* to = dx.data<T>();
        parallel_for(rows.count, rows.grain, [=](std::int64_t begin, std::int64_t end) {
            for (std::int64_t row = begin; row < end; ++row) {
                const T* g = gradients + row * rows.size;
                const T* w = weights + row * rows.size;
                T* d = to + row * rows.size;
                const T mean = kernels::row_dot(g, w, rows.size);
                for (std::int64_t i = 0; i < rows.size; ++i) d[i] = w[i] * (g[i] - mean);
            }
        });
    });
    return dx;
}

/// y = (x - max) - log(sum exp(x - max)). The sum is of at least 1, so its logarithm is as exact as the sum.
template <class T>
void log_softmax_row(const T* x, T* y, std::int64_t n) {
    const T most = kernels::row_max(x, n);
    for (std::int64_t i = 0; i < n; ++i) y[i] = kernels::fast_exp(x[i] - most);
    const T total = std::log(kernels::row_sum(y, n));
    for (std::int64_t i = 0; i < n; ++i) y[i] = x[i] - most - total;
}

/// dx = dy - exp(y) sum dy, from y_i = x_i - log(sum e^x): dy_i/dx_j = [i = j] - exp(y_j).
Tensor log_softmax_backward(const Tensor& dy, const Tensor& y) {
    Tensor dx = Tensor::empty(y.shape(), y.dtype());
    const Rows rows = rows_of(y, "log_softmax");
    dispatch_float(y.dtype(), "log_softmax", [&](auto zero) {
        using T = decltype(zero);
        const T* gradients = dy.data<T>();
        const T* values = y.data<T>();
        T* to = dx.data<T>();
        parallel_for(rows.count, rows.grain, [=](std::int64_t begin, std::int64_t end) {
            for (std::int64_t row = begin; row < end; ++row) {
                const T* g = gradients + row * rows.size;
                const T* v = values + row * rows.size;
                T* d = to + row * rows.size;
                const T total = kernels::row_sum(g, rows.size);
                for (std::int64_t i = 0; i < rows.size; ++i) d[i] = g[i] - kernels::fast_exp(v[i]) * total;
            }
        });
    });
    return dx;
}

/// Is `axis` another than the last?
bool needs_turning(const Tensor& x, int axis, const char* op) {
    return x.rank() > 0 && x.shape().axis(axis, op) != x.rank() - 1;
}

/// op along `axis` by an op along the last one: the two axes change places before and after.
template <class Op>
Tensor with_axis_last(const Tensor& x, int axis, Op op) {
    std::vector<int> order(static_cast<std::size_t>(x.rank()));
    std::iota(order.begin(), order.end(), 0);
    std::swap(order.back(), order[static_cast<std::size_t>(axis < 0 ? axis + x.rank() : axis)]);
    return permute(op(permute(x, order)), order);
}

/// Where the rows of a tensor that broadcasts to `shape` begin, and how far apart the elements of a row are (0 or 1).
class BroadcastRows {
public:
    BroadcastRows(const Shape& from, const Shape& shape) : shape_(shape) {
        std::int64_t stride = 1;
        for (int axis = shape.rank() - 1, own = from.rank() - 1; own >= 0; --axis, --own) {
            strides_[axis] = from[own] == 1 ? 0 : stride;
            stride *= from[own];
        }
    }
    std::int64_t step() const { return strides_[shape_.rank() - 1]; }
    std::int64_t begin(std::int64_t row) const {
        std::int64_t offset = 0;
        for (int axis = shape_.rank() - 2; axis >= 0; --axis) {
            offset += row % shape_[axis] * strides_[axis];
            row /= shape_[axis];
        }
        return offset;
    }

private:
    Shape shape_;
    Shape strides_{0, 0, 0, 0, 0, 0};
};

}  // namespace

Tensor softmax(const Tensor& x, int axis) {
    if (needs_turning(x, axis, "softmax"))
        return with_axis_last(x, axis, [](const Tensor& turned) { return softmax(turned); });
    const Rows rows = rows_of(x, "softmax");
    Tensor y = Tensor::empty(x.shape(), x.dtype());
    dispatch_float(x.dtype(), "softmax", [&](auto zero) {
        using T = decltype(zero);
        const T* from = x.data<T>();
        T* to = y.data<T>();
        parallel_for(rows.count, rows.grain, [=](std::int64_t begin, std::int64_t end) {
            for (std::int64_t row = begin; row < end; ++row) {
                T* out = to + row * rows.size;
                std::copy_n(from + row * rows.size, rows.size, out);
                softmax_row(out, rows.size);
            }
        });
    });
    return record("softmax", {x}, y, {y}, [](Backward& bw) { bw.set(0, softmax_backward(bw.grad(), bw.saved(0))); });
}

Tensor log_softmax(const Tensor& x, int axis) {
    if (needs_turning(x, axis, "log_softmax"))
        return with_axis_last(x, axis, [](const Tensor& turned) { return log_softmax(turned); });
    const Rows rows = rows_of(x, "log_softmax");
    Tensor y = Tensor::empty(x.shape(), x.dtype());
    dispatch_float(x.dtype(), "log_softmax", [&](auto zero) {
        using T = decltype(zero);
        const T* from = x.data<T>();
        T* to = y.data<T>();
        parallel_for(rows.count, rows.grain, [=](std::int64_t begin, std::int64_t end) {
            for (std::int64_t row = begin; row < end; ++row)
                log_softmax_row(from + row * rows.size, to + row * rows.size, rows.size);
        });
    });
    return record("log_softmax", {x}, y, {y},
                  [](Backward& bw) { bw.set(0, log_softmax_backward(bw.grad(), bw.saved(0))); });
}

Tensor masked_softmax(const Tensor& x, const Tensor& visible) {
    const Rows rows = rows_of(x, "masked_softmax");
    if (visible.dtype() != DType::boolean)
        throw Error("masked_softmax: visible must be bool, not " + std::string(name_of(visible.dtype())));
    if (!broadcasts_to(visible.shape(), x.shape()))
        throw Error("masked_softmax: visible does not broadcast to x; x is " + x.shape().str() + ", visible is " +
                    visible.shape().str());
    Tensor y = Tensor::empty(x.shape(), x.dtype());
    const BroadcastRows mask_rows(visible.shape(), x.shape());
    const std::uint8_t* mask = visible.data<std::uint8_t>();
    dispatch_float(x.dtype(), "masked_softmax", [&](auto zero) {
        using T = decltype(zero);
        const T* from = x.data<T>();
        T* to = y.data<T>();
        parallel_for(rows.count, rows.grain, [=, &mask_rows](std::int64_t begin, std::int64_t end) {
            constexpr T hidden = -std::numeric_limits<T>::infinity();
            for (std::int64_t row = begin; row < end; ++row) {
                const T* in = from + row * rows.size;
                const std::uint8_t* seen = mask + mask_rows.begin(row);
                T* out = to + row * rows.size;
                bool any = false;
                for (std::int64_t i = 0; i < rows.size; ++i) {
                    const bool shown = seen[i * mask_rows.step()] != 0;
                    any = any || shown;
                    out[i] = shown ? in[i] : hidden;
                }
                if (any) softmax_row(out, rows.size);
                else std::fill_n(out, rows.size, T{0});
            }
        });
    });
    // Hidden elements have weight 0, and with it gradient 0: the backward needs no mask.
    return record("masked_softmax", {x}, y, {y},
                  [](Backward& bw) { bw.set(0, softmax_backward(bw.grad(), bw.saved(0))); });
}

}  // namespace headscope
