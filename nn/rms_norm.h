#pragma once

#include "nn/norm.h"

namespace headscope::nn {

/// x / sqrt(mean x^2 + eps) * weight over the last axis (Zhang and Sennrich 2019). Parameter `weight` [width], 1 at
/// first.
class RMSNorm : public Norm {
public:
    explicit RMSNorm(std::int64_t width, double eps = 1e-5);
    Tensor forward(const Tensor& x) const override;
    void initialize_own(const Initializer& init) override;

    Tensor weight;

private:
    double eps_;
};

}  // namespace headscope::nn
