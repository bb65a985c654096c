#include "autograd/ops/elementwise.h"

#include <cmath>

#include "autograd/graph.h"
#include "autograd/kernels/elementwise.h"
#include "autograd/kernels/vector_math.h"
#include "autograd/ops/arithmetic.h"

namespace headscope {
namespace {

using kernels::combine;
using kernels::map;
using kernels::map_back;
using kernels::transform;

/// d(base^exponent)/d(base) = exponent base^(exponent - 1), and 0 for exponent 0 even where the power is infinite.
template <class T>
T base_slope(T base, T exponent) {
    return exponent == 0 ? T{0} : exponent * std::pow(base, exponent - 1);
}

/// d(base^exponent)/d(exponent) = base^exponent log(base); its limit at base 0 is 0.
template <class T>
T exponent_slope(T base, T exponent) {
    return base == 0 && exponent >= 0 ? T{0} : std::pow(base, exponent) * std::log(base);
}

}  // namespace

Tensor exp(const Tensor& x) {
    Tensor y = map("exp", x, [](auto v) { return kernels::fast_exp(v); });
    return record("exp", {x}, y, {y}, [](Backward& bw) { bw.set(0, mul(bw.grad(), bw.saved(0))); });
}

Tensor log(const Tensor& x) {
    Tensor y = map("log", x, [](auto v) { return std::log(v); });
    return record("log", {x}, y, {x}, [](Backward& bw) { bw.set(0, div(bw.grad(), bw.saved(0))); });
}

Tensor sqrt(const Tensor& x) {
    Tensor y = map("sqrt", x, [](auto v) { return std::sqrt(v); });
    return record("sqrt", {x}, y, {y}, [](Backward& bw) {
        // y = sqrt(x)  =>  dy/dx = 1 / (2 y)
        bw.set(0, map_back("sqrt", bw.grad(), bw.saved(0), [](auto dy, auto root) { return dy / (2 * root); }));
    });
}

Tensor tanh(const Tensor& x) {
    Tensor y = map("tanh", x, [](auto v) { return std::tanh(v); });
    return record("tanh", {x}, y, {y}, [](Backward& bw) {
        bw.set(0, map_back("tanh", bw.grad(), bw.saved(0), [](auto dy, auto t) { return dy * (1 - t * t); }));
    });
}

Tensor sigmoid(const Tensor& x) {
    Tensor y = map("sigmoid", x, [](auto v) { return 1 / (1 + kernels::fast_exp(-v)); });
    return record("sigmoid", {x}, y, {y}, [](Backward& bw) {
        bw.set(0, map_back("sigmoid", bw.grad(), bw.saved(0), [](auto dy, auto s) { return dy * (s * (1 - s)); }));
    });
}

Tensor pow(const Tensor& x, double exponent) {
    Tensor y = transform("pow", x, exponent, [](auto v, auto p) { return std::pow(v, p); });
    return record("pow", {x}, y, {x}, [exponent](Backward& bw) {
        bw.set(0, mul(bw.grad(), transform("pow", bw.saved(0), exponent,
                                           [](auto v, auto p) { return base_slope<decltype(v)>(v, p); })));
    });
}

Tensor pow(const Tensor& base, const Tensor& exponent) {
    Tensor y = combine("pow", base, exponent, [](auto b, auto e) { return std::pow(b, e); });
    return record("pow", {base, exponent}, y, {base, exponent}, [](Backward& bw) {
        const Tensor& b = bw.saved(0);
        const Tensor& e = bw.saved(1);
        if (bw.needs(0))
            bw.set(0, mul(bw.grad(), combine("pow", b, e, [](auto v, auto p) { return base_slope(v, p); })));
        if (bw.needs(1))
            bw.set(1, mul(bw.grad(), combine("pow", b, e, [](auto v, auto p) { return exponent_slope(v, p); })));
    });
}

}  // namespace headscope
