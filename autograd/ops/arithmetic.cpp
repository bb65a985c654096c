#include "autograd/ops/arithmetic.h"

#include <string>

#include "autograd/graph.h"
#include "autograd/kernels/strided_walk.h"
#include "autograd/parallel.h"

namespace headscope {
namespace {

// Elements in a chunk; less work than this is not worth waking a thread.
constexpr std::int64_t grain = 16384;

// One run of the walk. A broadcast operand stands still (step 0) or goes along (step 1), and never do both stand still
// in a run of more than one element.
template <class T, class Op>
void combine_run(const T* a, std::int64_t step_a, const T* b, std::int64_t step_b, T* c, std::int64_t count, Op op) {
    if (step_a == 0) {
        const T left = *a;
        for (std::int64_t i = 0; i < count; ++i) c[i] = op(left, b[i]);
    } else if (step_b == 0) {
        const T right = *b;
        for (std::int64_t i = 0; i < count; ++i) c[i] = op(a[i], right);
    } else {
        for (std::int64_t i = 0; i < count; ++i) c[i] = op(a[i], b[i]);
    }
}

// c = op(a, b), element by element, under broadcasting.
template <class Op>
Tensor combine(const char* name, const Tensor& a, const Tensor& b, Op op) {
    if (a.dtype() != b.dtype())
        throw Error(std::string(name) + ": the dtypes differ; a is " + std::string(name_of(a.dtype())) + " " +
                    a.shape().str() + ", b is " + std::string(name_of(b.dtype())) + " " + b.shape().str() +
                    "; convert one with to()");
    const Shape shape = broadcast_shapes(a.shape(), b.shape(), name);
    Tensor c = Tensor::empty(shape, a.dtype());
    const StridedWalk<2> walk(shape, {broadcast_strides(a.shape(), shape), broadcast_strides(b.shape(), shape)});
    dispatch_float(a.dtype(), name, [&](auto scalar) {
        using T = decltype(scalar);
        const T* const pa = a.data<T>();
        const T* const pb = b.data<T>();
        T* const pc = c.data<T>();
        parallel_for(shape.numel(), grain, [&](std::int64_t begin, std::int64_t end) {
            walk.run(begin, end, [&](std::int64_t position, std::int64_t count, const auto& offsets) {
                combine_run(pa + offsets[0], walk.step(0), pb + offsets[1], walk.step(1), pc + position, count, op);
            });
        });
    });
    return c;
}

// c = op(a, constant), element by element; the constant is rounded to a's dtype once.
template <class Op>
Tensor transform(const char* name, const Tensor& a, double constant, Op op) {
    Tensor c = Tensor::empty(a.shape(), a.dtype());
    dispatch_float(a.dtype(), name, [&](auto scalar) {
        using T = decltype(scalar);
        const T* const pa = a.data<T>();
        T* const pc = c.data<T>();
        const T value = static_cast<T>(constant);
        parallel_for(a.numel(), grain, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i) pc[i] = op(pa[i], value);
        });
    });
    return c;
}

}  // namespace

// In all that follows dL/dx may still have the broadcast shape: the engine sums it down to x's.

Tensor add(const Tensor& a, const Tensor& b) {
    Tensor c = combine("add", a, b, [](auto x, auto y) { return x + y; });
    return record("add", {a, b}, c, {}, [](Backward& bw) {
        if (bw.needs(0)) bw.set(0, bw.grad());
        if (bw.needs(1)) bw.set(1, bw.grad());
    });
}

Tensor sub(const Tensor& a, const Tensor& b) {
    Tensor c = combine("sub", a, b, [](auto x, auto y) { return x - y; });
    return record("sub", {a, b}, c, {}, [](Backward& bw) {
        if (bw.needs(0)) bw.set(0, bw.grad());
        if (bw.needs(1)) bw.set(1, neg(bw.grad()));
    });
}

Tensor mul(const Tensor& a, const Tensor& b) {
    Tensor c = combine("mul", a, b, [](auto x, auto y) { return x * y; });
    return record("mul", {a, b}, c, {a, b}, [](Backward& bw) {
        if (bw.needs(0)) bw.set(0, mul(bw.grad(), bw.saved(1)));  // dL/da = dL/dc * b
        if (bw.needs(1)) bw.set(1, mul(bw.grad(), bw.saved(0)));  // dL/db = dL/dc * a
    });
}

Tensor div(const Tensor& a, const Tensor& b) {
    Tensor c = combine("div", a, b, [](auto x, auto y) { return x / y; });
    return record("div", {a, b}, c, {b, c}, [](Backward& bw) {
        const Tensor over_b = div(bw.grad(), bw.saved(0));
        if (bw.needs(0)) bw.set(0, over_b);                         // dL/da = dL/dc / b
        if (bw.needs(1)) bw.set(1, neg(mul(over_b, bw.saved(1))));  // dL/db = -dL/dc / b * c
    });
}

Tensor neg(const Tensor& a) {
    Tensor c = transform("neg", a, 0, [](auto x, auto) { return -x; });
    return record("neg", {a}, c, {}, [](Backward& bw) { bw.set(0, neg(bw.grad())); });
}

Tensor scale(const Tensor& a, double factor) {
    Tensor c = transform("scale", a, factor, [](auto x, auto y) { return x * y; });
    return record("scale", {a}, c, {}, [factor](Backward& bw) { bw.set(0, scale(bw.grad(), factor)); });
}

Tensor shift(const Tensor& a, double constant) {
    Tensor c = transform("shift", a, constant, [](auto x, auto y) { return x + y; });
    return record("shift", {a}, c, {}, [](Backward& bw) { bw.set(0, bw.grad()); });
}

}  // namespace headscope
