#pragma once

#include "nn/norm.h"

namespace headscope::nn {

/// Layer normalisation over the last axis (Ba et al. 2016). Parameters `weight` [width] (1 at first) and `bias` [width]
/// (0).
class LayerNorm : public Norm {
public:
    explicit LayerNorm(std::int64_t width, double eps = 1e-5);
    Tensor forward(const Tensor& x) const override;
    void initialize_own(const Initializer& init) override;

    Tensor weight;
    Tensor bias;

private:
    double eps_;
};

}  // namespace headscope::nn
