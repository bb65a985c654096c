// Small problems for the tests of optimizers. The cubic one: minimise the sum of (p - target)^3, whose gradient is
// 3 (p - target)^2.
#pragma once

#include <cstdint>
#include <vector>

#include "autograd/random.h"
#include "autograd/tensor.h"
#include "optim/optimizer.h"

namespace headscope::optim {

inline nn::Parameter cubic_parameter(DType dtype = DType::f64) {
    return {"p", Tensor::from({3}, {0.5, -1.25, 2.0}, dtype), nn::ParameterRole::bias};
}

/// Takes `steps` steps on a parameter made by cubic_parameter().
inline void minimise_cubic(Optimizer& optimizer, Tensor p, int steps) {
    const Tensor target = Tensor::from({3}, {1.0, 0.25, -0.75}, DType::f64);
    p.set_requires_grad();
    for (int step = 0; step < steps; ++step) {
        const Tensor now = p.to(DType::f64);
        Tensor gradient = Tensor::empty({3}, DType::f64);
        for (std::size_t i = 0; i < 3; ++i) {
            const double distance = now.values<double>()[i] - target.values<double>()[i];
            gradient.data<double>()[i] = 3 * distance * distance;
        }
        p.set_grad(gradient.to(p.dtype()));
        optimizer.step();
    }
}

/// A few f32 parameters of odd sizes with random values; one is longer than a chunk of work and has the role of a
/// matrix.
inline std::vector<nn::Parameter> random_parameters() {
    std::vector<nn::Parameter> parameters{{"a.weight", Tensor::empty({13, 5}), nn::ParameterRole::embedding},
                                          {"blocks.0.weight", Tensor::empty({211, 173})},
                                          {"b.bias", Tensor::empty({7}), nn::ParameterRole::bias}};
    for (nn::Parameter& parameter : parameters) {
        const RandomStream random(21, parameter.name);
        float* values = parameter.tensor.data<float>();
        for (std::int64_t i = 0; i < parameter.tensor.numel(); ++i)
            values[i] = static_cast<float>(random.normal(static_cast<std::uint64_t>(i)));
        parameter.tensor.set_requires_grad();
    }
    return parameters;
}

/// Random gradients that depend on `step` alone.
inline void set_random_gradients(std::vector<nn::Parameter>& parameters, int step) {
    for (nn::Parameter& parameter : parameters) {
        const RandomStream random(22, parameter.name, static_cast<std::uint64_t>(step));
        Tensor gradient = Tensor::empty(parameter.tensor.shape());
        for (std::int64_t i = 0; i < gradient.numel(); ++i)
            gradient.data<float>()[i] = static_cast<float>(random.normal(static_cast<std::uint64_t>(i)));
        parameter.tensor.set_grad(gradient);
    }
}

/// All values of all tensors, one after the other.
inline std::vector<float> all_values(const std::vector<nn::Parameter>& parameters) {
    std::vector<float> values;
    for (const nn::Parameter& parameter : parameters) {
        const auto own = parameter.tensor.values<float>();
        values.insert(values.end(), own.begin(), own.end());
    }
    return values;
}

}  // namespace headscope::optim
