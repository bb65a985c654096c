#pragma once

#include "nn/module.h"

namespace headscope::nn {

/// x / sqrt(mean x^2 + eps) * weight over the last axis (Zhang and Sennrich 2019). Parameter `weight` [width], ones.
class RMSNorm : public Module {
public:
    explicit RMSNorm(std::int64_t width, double eps = 1e-5);
    /// x [..., width] -> the same shape
    Tensor forward(const Tensor& x) const;

    Tensor weight;

private:
    double eps_;
};

}  // namespace headscope::nn
