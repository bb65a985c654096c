// Gradcheck of a whole module.
#pragma once

#include <functional>
#include <vector>

#include "autograd/gradcheck.h"
#include "tests/nn/random_tensors.h"

namespace headscope::nn {

/// Checks the gradients of forward(inputs) by the inputs and by every parameter of the module, all in f64.
inline void expect_gradients(const Module& module, std::vector<Tensor> inputs,
                             const std::function<Tensor(const std::vector<Tensor>&)>& forward) {
    for (Tensor& input : inputs) input.set_requires_grad();
    for (const Parameter& parameter : module.named_parameters()) inputs.push_back(parameter.tensor);
    const GradcheckResult result =
        gradcheck([&](const std::vector<Tensor>& in) { return std::vector{forward(in)}; }, inputs);
    EXPECT_TRUE(result.ok) << result.message;
}

}  // namespace headscope::nn
