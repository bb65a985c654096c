#include "optim/clip.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "autograd/graph.h"
#include "autograd/ops/arithmetic.h"
#include "tests/autograd/helpers.h"
#include "tests/optim/problems.h"

namespace headscope::optim {
namespace {

std::vector<float> all_gradients(const std::vector<NamedTensor>& parameters) {
    std::vector<NamedTensor> gradients;
    for (const NamedTensor& parameter : parameters) gradients.push_back({parameter.name, parameter.tensor.grad()});
    return all_values(gradients);
}

TEST(Clip, NormIsThatOfAllGradients) {
    std::vector<NamedTensor> parameters = random_parameters();
    EXPECT_EQ(global_grad_norm(parameters), 0);
    set_random_gradients(parameters, 0);
    long double squares = 0;
    for (const float g : all_gradients(parameters)) squares += static_cast<long double>(g) * g;
    EXPECT_NEAR(global_grad_norm(parameters), static_cast<double>(std::sqrt(squares)), 1e-11);
}

TEST(Clip, NormHasTheSameBitsForAnyNumberOfThreads) {
    std::vector<NamedTensor> parameters = random_parameters();
    set_random_gradients(parameters, 1);
    double expected = 0;
    for (const int threads : {1, 2, 3, 5}) {
        const test::Threads limit(threads);
        if (threads == 1) expected = global_grad_norm(parameters);
        EXPECT_EQ(global_grad_norm(parameters), expected);
    }
}

TEST(Clip, ScalesAllGradientsAlike) {
    std::vector<NamedTensor> parameters = random_parameters();
    set_random_gradients(parameters, 2);
    const std::vector<float> before = all_gradients(parameters);
    const double norm = global_grad_norm(parameters);
    clip_gradients(parameters, norm, 0.5);
    const auto factor = static_cast<float>(0.5 / (norm + 1e-6));
    const std::vector<float> after = all_gradients(parameters);
    for (std::size_t i = 0; i < after.size(); ++i) EXPECT_EQ(after[i], before[i] * factor);
    EXPECT_NEAR(global_grad_norm(parameters), 0.5, 1e-6);
}

TEST(Clip, LeavesSmallGradientsAlone) {
    std::vector<NamedTensor> parameters = random_parameters();
    set_random_gradients(parameters, 3);
    const std::vector<float> before = all_gradients(parameters);
    const double norm = global_grad_norm(parameters);
    clip_gradients(parameters, norm, norm + 1);
    EXPECT_EQ(all_gradients(parameters), before);
}

TEST(Clip, DoesNotHideNaN) {
    std::vector<NamedTensor> parameters{{"p", Tensor::zeros({2})}};
    parameters[0].tensor.set_requires_grad();
    parameters[0].tensor.set_grad(Tensor::from({2}, {std::numeric_limits<double>::quiet_NaN(), 1}));
    const double norm = global_grad_norm(parameters);
    EXPECT_TRUE(std::isnan(norm));
    clip_gradients(parameters, norm, 1);
    EXPECT_TRUE(std::isnan(parameters[0].tensor.grad().at({1})));
}

// The gradient of a sum is one tensor for both terms; clipping in place must not scale it twice.
TEST(Clip, ScalesAGradientOnceThatTwoParametersShare) {
    std::vector<NamedTensor> parameters{{"a", Tensor::from({2}, {1, 2})}, {"b", Tensor::from({2}, {3, 4})}};
    for (NamedTensor& parameter : parameters) parameter.tensor.set_requires_grad();
    backward(add(parameters[0].tensor, parameters[1].tensor), {.gradient = Tensor::from({2}, {3, -4})});
    const double norm = global_grad_norm(parameters);
    EXPECT_DOUBLE_EQ(norm, std::sqrt(50));
    clip_gradients(parameters, norm, 1);
    for (const NamedTensor& parameter : parameters) {
        EXPECT_NEAR(parameter.tensor.grad().at({0}), 3 / norm, 1e-6);
        EXPECT_NEAR(parameter.tensor.grad().at({1}), -4 / norm, 1e-6);
    }
}

}  // namespace
}  // namespace headscope::optim
