#include "nn/feed_forward.h"

#include "autograd/ops/feed_forward.h"
#include "nn/init.h"

namespace headscope::nn {

FeedForward::FeedForward(std::int64_t d_model, std::int64_t d_ff, Activation activation, bool bias)
    : linear1(deferred<Linear>(d_model, d_ff, bias)),
      linear2(deferred<Linear>(d_ff, d_model, bias)),
      activation_(activation) {
    register_module("linear1", linear1);
    register_module("linear2", linear2);
    initialize_new(*this);
}

Tensor FeedForward::forward(const Tensor& x, const Tensor& residual) const {
    return feed_forward(x, {linear1.weight, linear1.bias, linear2.weight, linear2.bias}, activation_, residual);
}

}  // namespace headscope::nn
