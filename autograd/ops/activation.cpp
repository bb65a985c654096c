#include "autograd/ops/activation.h"

#include "autograd/graph.h"
#include "autograd/kernels/activations.h"
#include "autograd/kernels/elementwise.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/parallel.h"

namespace headscope {
namespace {

const char* name_of(Activation which) {
    switch (which) {
        case Activation::gelu: return "gelu";
        case Activation::relu: return "relu";
        case Activation::silu: return "silu";
    }
    throw Error("activate: no such activation");
}

}  // namespace

Tensor activate(const Tensor& x, Activation which) {
    const char* const name = name_of(which);
    const bool recorded = records({x});
    Tensor y = Tensor::empty(x.shape(), x.dtype());
    Tensor slope = recorded ? Tensor::empty(x.shape(), x.dtype()) : Tensor();
    dispatch_float(x.dtype(), name, [&](auto zero) {
        using T = decltype(zero);
        const T* const from = x.data<T>();
        T* const to = y.data<T>();
        T* const slopes = recorded ? slope.data<T>() : nullptr;
        parallel_for(x.numel(), kernels::map_grain, [=](std::int64_t begin, std::int64_t end) {
            if (slopes == nullptr) kernels::activate(which, from + begin, to + begin, end - begin);
            else kernels::activate_with_slope(which, from + begin, to + begin, slopes + begin, end - begin);
        });
    });
    // The slope costs next to nothing beside the value and x needs not be kept, so it is what is saved.
    return record(name, {x}, y, {slope}, [](Backward& bw) { bw.set(0, mul(bw.grad(), bw.saved(0))); });
}

Tensor gelu(const Tensor& x) { return activate(x, Activation::gelu); }
Tensor relu(const Tensor& x) { return activate(x, Activation::relu); }
Tensor silu(const Tensor& x) { return activate(x, Activation::silu); }

}  // namespace headscope
