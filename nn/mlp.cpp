#include "nn/mlp.h"

#include "autograd/ops/feed_forward.h"
#include "nn/init.h"

namespace headscope::nn {

Mlp::Mlp(const FeedForwardOptions& options)
    : FeedForward(options.name),
      linear1(deferred<Linear>(options.d_model, options.d_ff, options.bias)),
      linear2(deferred<Linear>(options.d_ff, options.d_model, options.bias)),
      activation_(options.activation) {
    register_module("linear1", linear1);
    register_module("linear2", linear2);
    initialize_new(*this);
}

Tensor Mlp::forward(const Tensor& x, const Tensor& residual) const {
    const auto hidden_layer = [&] { return activate(linear1.forward(x), activation_); };  // [..., d_ff]
    if (hidden.has_edits() || output.has_edits())
        return project(hidden_layer(), linear2.weight, linear2.bias, residual);
    hidden.show(hidden_layer);
    output.show([&] { return linear2.forward(hidden_layer()); });
    return feed_forward(x, {linear1.weight, linear1.bias, linear2.weight, linear2.bias}, activation_, residual);
}

Sizes Mlp::outline(Outline& outline, const std::string& name, const Sizes& x) const {
    const Sizes h = linear1.outline(outline, x);
    outline.step(name + ".linear1", "(B, T, d_ff)", h);
    outline.keep(2 * count_of(h));  // with its slope, or before its activation
    const Sizes y = linear2.outline(outline, h);
    outline.step(name + ".linear2", "(B, T, d)", y, "after the activation");
    return y;
}

}  // namespace headscope::nn
