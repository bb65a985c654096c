#include "nn/feed_forward.h"

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/linear.h"

namespace headscope::nn {

FeedForward::FeedForward(const std::string& name) : hidden(name + ".hidden"), output(name + ".output") {
    register_point("hidden", hidden);
    register_point("output", output);
}

Tensor FeedForward::project(const Tensor& hidden_value, const Tensor& weight, const Tensor& bias,
                            const Tensor& residual) const {
    const Tensor h = hidden.pass(hidden_value);
    if (output.has_edits()) {
        const Tensor y = output.pass(linear(h, weight, bias));
        return residual.defined() ? residual + y : y;
    }
    output.show([&] { return linear(h, weight, bias); });
    return linear(h, weight, bias, residual);
}

}  // namespace headscope::nn
