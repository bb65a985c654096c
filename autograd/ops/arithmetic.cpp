#include "autograd/ops/arithmetic.h"

#include "autograd/graph.h"
#include "autograd/kernels/elementwise.h"

namespace headscope {
namespace {

using kernels::combine;
using kernels::transform;

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
