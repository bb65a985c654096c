#pragma once

#include "nn/module.h"

namespace headscope::nn {

/// Layer normalisation over the last axis, eps 1e-5. Parameters `weight` [width] (1 at first) and `bias` [width] (0).
class LayerNorm : public Module {
public:
    explicit LayerNorm(std::int64_t width, double eps = 1e-5);
    /// x [..., width] -> the same shape
    Tensor forward(const Tensor& x) const;

    Tensor weight;
    Tensor bias;

private:
    double eps_;
};

}  // namespace headscope::nn
