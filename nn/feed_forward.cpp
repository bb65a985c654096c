#include "nn/feed_forward.h"

#include "autograd/ops/activation.h"
#include "nn/init.h"

namespace headscope::nn {

FeedForward::FeedForward(std::int64_t d_model, std::int64_t d_ff, Activation activation, bool bias)
    : linear1(d_model, d_ff, bias), linear2(d_ff, d_model, bias), activation_(activation) {
    register_module("linear1", linear1);
    register_module("linear2", linear2);
    initialize(*this, {.scheme = InitScheme::pytorch});
}

Tensor FeedForward::forward(const Tensor& x) const {
    const Tensor hidden = linear1.forward(x);  // [..., d_ff]
    switch (activation_) {
        case Activation::gelu: return linear2.forward(gelu(hidden));
        case Activation::relu: return linear2.forward(relu(hidden));
        case Activation::silu: return linear2.forward(silu(hidden));
    }
    throw Error("FeedForward: no such activation");
}

}  // namespace headscope::nn
