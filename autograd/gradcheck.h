// Gradient checking against central differences, public so that an op added elsewhere can be proved the same way.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "autograd/tensor.h"

namespace headscope {

struct GradcheckOptions {
    double step = 1e-6;       ///< half the distance of the central difference
    double tolerance = 1e-6;  ///< largest |analytic - numeric| / max(1, |analytic|, |numeric|) allowed
    std::uint64_t seed = 1;   ///< of the random output gradients
};

struct GradcheckResult {
    bool ok = false;
    double worst = 0;     ///< largest error seen, by the measure of GradcheckOptions::tolerance
    std::string message;  ///< empty when ok; else which input, which element, both values, or which law was broken
};

/// Checks d(sum of outputs * random gradients)/d(inputs) for `function`. `inputs` are f64 leaves; those that require a
/// gradient are checked, element by element. Beyond the differences it asks that two backward passes give the same
/// bits, that the backward is linear in the output gradient, and that an output nobody uses (an undefined gradient)
/// is treated as zero.
/// Throws Error when an input is not f64 or none requires a gradient.
GradcheckResult gradcheck(const std::function<std::vector<Tensor>(const std::vector<Tensor>&)>& function,
                          std::vector<Tensor> inputs, const GradcheckOptions& options = {});

}  // namespace headscope
