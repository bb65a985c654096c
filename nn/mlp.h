#pragma once

#include "nn/feed_forward.h"
#include "nn/linear.h"

namespace headscope::nn {

/// linear1 -> activation -> linear2 (Vaswani et al. 2017). Children linear1 [d_ff, d_model], linear2 [d_model, d_ff].
class Mlp : public FeedForward {
public:
    explicit Mlp(const FeedForwardOptions& options);
    Tensor forward(const Tensor& x, const Tensor& residual = {}) const override;
    Sizes outline(Outline& outline, const std::string& name, const Sizes& x) const override;

    Linear linear1, linear2;

private:
    Activation activation_;
};

}  // namespace headscope::nn
