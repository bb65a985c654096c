#pragma once

#include "nn/module.h"
#include "nn/outline.h"

namespace headscope::nn {

/// y = x W^T + b, on the last axis. Parameters `weight` [out, in] and, unless bias is false, `bias` [out].
class Linear : public Module {
public:
    Linear(std::int64_t in_features, std::int64_t out_features, bool bias = true,
           ParameterRole role = ParameterRole::matrix);
    /// x [..., in] -> [..., out]
    Tensor forward(const Tensor& x) const;
    /// The same in sizes; counts the product's work.
    Sizes outline(Outline& outline, const Sizes& x) const;
    void initialize_own(const Initializer& init) override;

    Tensor weight;
    Tensor bias;  ///< undefined when there is none
};

}  // namespace headscope::nn
