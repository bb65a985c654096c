#include "nn/swiglu.h"

#include "autograd/ops/arithmetic.h"
#include "nn/init.h"

namespace headscope::nn {

SwiGlu::SwiGlu(const FeedForwardOptions& options)
    : FeedForward(options.name),
      gate(deferred<Linear>(options.d_model, options.d_ff, options.bias)),
      up(deferred<Linear>(options.d_model, options.d_ff, options.bias)),
      down(deferred<Linear>(options.d_ff, options.d_model, options.bias)) {
    register_module("gate", gate);
    register_module("up", up);
    register_module("down", down);
    initialize_new(*this);
}

Tensor SwiGlu::forward(const Tensor& x, const Tensor& residual) const {
    return project(mul(silu(gate.forward(x)), up.forward(x)), down.weight, down.bias, residual);
}

Sizes SwiGlu::outline(Outline& outline, const std::string& name, const Sizes& x) const {
    const Sizes h = gate.outline(outline, x);
    outline.step(name + ".gate", "(B, T, d_ff)", h);
    up.outline(outline, x);
    outline.step(name + ".up", "(B, T, d_ff)", h);
    outline.step("  silu(gate) * up", "(B, T, d_ff)", h);
    outline.keep(4 * count_of(h));  // gate before and after silu, up, their product
    const Sizes y = down.outline(outline, h);
    outline.step(name + ".down", "(B, T, d)", y);
    return y;
}

}  // namespace headscope::nn
