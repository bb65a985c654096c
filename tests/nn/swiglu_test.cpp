#include "nn/swiglu.h"

#include <cmath>

#include "tests/nn/module_gradients.h"

namespace headscope::nn {
namespace {

TEST(SwiGlu, IsDownOfSiluGateTimesUp) {
    SwiGlu module({.d_model = 4, .d_ff = 7});
    module.to(DType::f64);
    randomise(module, 3);
    const Tensor x = random_tensor({2, 5, 4}, 1, DType::f64), residual = random_tensor({2, 5, 4}, 2, DType::f64);
    const Tensor gate = module.gate.forward(x), up = module.up.forward(x);
    Tensor hidden = Tensor::empty({2, 5, 7}, DType::f64);
    for (std::int64_t i = 0; i < hidden.numel(); ++i) {
        const double g = gate.data<double>()[i];
        hidden.data<double>()[i] = g / (1 + std::exp(-g)) * up.data<double>()[i];
    }
    EXPECT_LT(distance(module.forward(x), module.down.forward(hidden)), 1e-14);
    EXPECT_LT(distance(module.forward(x, residual), module.down.forward(hidden) + residual), 1e-14);
    EXPECT_FALSE(SwiGlu({.d_model = 4, .d_ff = 7, .bias = false}).gate.bias.defined());
    expect_gradients(module, {x, residual}, [&](const auto& in) { return module.forward(in[0], in[1]); });
}

}  // namespace
}  // namespace headscope::nn
