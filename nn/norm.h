#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "nn/module.h"
#include "nn/outline.h"

namespace headscope::nn {

/// A normalisation over the last axis.
class Norm : public Module {
public:
    /// x [..., width] -> the same shape
    virtual Tensor forward(const Tensor& x) const = 0;
    /// The same in sizes: its result is kept for the backward pass.
    Sizes outline(Outline& outline, const Sizes& x) const {
        outline.keep(count_of(x));
        return x;
    }
};

/// Makes the norms of a model.
using NormFactory = std::function<std::unique_ptr<Norm>(std::int64_t width)>;

}  // namespace headscope::nn
