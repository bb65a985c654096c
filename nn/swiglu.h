#pragma once

#include "nn/feed_forward.h"
#include "nn/linear.h"

namespace headscope::nn {

/// down(silu(gate x) * up x) (Shazeer 2020, "GLU variants improve transformer"). Children gate, up [d_ff, d_model] and
/// down [d_model, d_ff]. The point `hidden` is the product that down is given.
class SwiGlu : public FeedForward {
public:
    /// `activation` of the options is not used.
    explicit SwiGlu(const FeedForwardOptions& options);
    Tensor forward(const Tensor& x, const Tensor& residual = {}) const override;
    Sizes outline(Outline& outline, const std::string& name, const Sizes& x) const override;

    Linear gate, up, down;
};

}  // namespace headscope::nn
