#include "autograd/ops/selection.h"

#include <string>

#include "autograd/graph.h"
#include "autograd/kernels/elementwise.h"
#include "autograd/kernels/strided_walk.h"
#include "autograd/parallel.h"

namespace headscope {
namespace {

/// condition ? a : b under broadcasting, outside the graph.
Tensor select(const char* op, const Tensor& condition, const Tensor& a, const Tensor& b) {
    const Shape shape = broadcast_shapes(condition.shape(), broadcast_shapes(a.shape(), b.shape(), op), op);
    Tensor result = Tensor::empty(shape, a.dtype());
    const StridedWalk<3> walk(shape, {broadcast_strides(condition.shape(), shape), broadcast_strides(a.shape(), shape),
                                      broadcast_strides(b.shape(), shape)});
    const std::uint8_t* const chosen = condition.data<std::uint8_t>();
    dispatch_float(a.dtype(), op, [&](auto zero) {
        using T = decltype(zero);
        const T* const pa = a.data<T>();
        const T* const pb = b.data<T>();
        T* const to = result.data<T>();
        parallel_for(shape.numel(), kernels::combine_grain, [&](std::int64_t begin, std::int64_t end) {
            walk.run(begin, end, [&](std::int64_t position, std::int64_t count, const auto& offsets) {
                for (std::int64_t i = 0; i < count; ++i)
                    to[position + i] = chosen[offsets[0] + i * walk.step(0)] != 0 ? pa[offsets[1] + i * walk.step(1)]
                                                                                  : pb[offsets[2] + i * walk.step(2)];
            });
        });
    });
    return result;
}

void check_boolean(const char* op, const char* what, const Tensor& mask) {
    if (mask.dtype() != DType::boolean)
        throw Error(std::string(op) + ": " + what + " must be bool; it is " + std::string(name_of(mask.dtype())) + " " +
                    mask.shape().str());
}

}  // namespace

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
    check_boolean("where", "the condition", condition);
    kernels::check_same_dtype("where", a, b);
    return record("where", {condition, a, b}, select("where", condition, a, b), {condition}, [](Backward& bw) {
        const Tensor none = Tensor::zeros({}, bw.grad().dtype());
        if (bw.needs(1)) bw.set(1, select("where", bw.saved(0), bw.grad(), none));
        if (bw.needs(2)) bw.set(2, select("where", bw.saved(0), none, bw.grad()));
    });
}

Tensor masked_fill(const Tensor& x, const Tensor& mask, double value) {
    check_boolean("masked_fill", "the mask", mask);
    if (!broadcasts_to(mask.shape(), x.shape()))
        throw Error("masked_fill: the mask does not broadcast to x; x is " + x.shape().str() + ", the mask is " +
                    mask.shape().str());
    const Tensor filled = select("masked_fill", mask, Tensor::full({}, value, x.dtype()), x);
    return record("masked_fill", {x}, filled, {mask}, [](Backward& bw) {
        bw.set(0, select("masked_fill", bw.saved(0), Tensor::zeros({}, bw.grad().dtype()), bw.grad()));
    });
}

}  // namespace headscope
