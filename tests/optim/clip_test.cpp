#include "optim/clip.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "autograd/graph.h"
#include "autograd/ops/arithmetic.h"
#include "optim/sgd.h"
#include "tests/autograd/helpers.h"
#include "tests/optim/problems.h"

namespace headscope::optim {
namespace {

std::vector<float> all_gradients(const std::vector<nn::Parameter>& parameters) {
    std::vector<nn::Parameter> gradients;
    for (const nn::Parameter& parameter : parameters) gradients.push_back({parameter.name, parameter.tensor.grad()});
    return all_values(gradients);
}

double norm_of(const std::vector<nn::Parameter>& parameters) { return Sgd({{parameters}}).grad_norm(); }

TEST(Clip, NormIsThatOfAllGradients) {
    std::vector<nn::Parameter> parameters = random_parameters();
    Sgd sgd({{{parameters[0]}}, {{parameters[1], parameters[2]}}});
    EXPECT_EQ(sgd.grad_norm(), 0);
    for (int step = 0; step < 2; ++step) {  // nothing of a step is left in the next
        set_random_gradients(parameters, step);
        long double squares = 0;
        for (const float g : all_gradients(parameters)) squares += static_cast<long double>(g) * g;
        EXPECT_NEAR(sgd.grad_norm(), static_cast<double>(std::sqrt(squares)), 1e-11);
    }
    sgd.zero_grad();
    parameters[2].tensor.set_grad(Tensor::full({7}, 2));
    EXPECT_DOUBLE_EQ(sgd.grad_norm(), std::sqrt(28));
}

TEST(Clip, NormsAreThoseOfEachTensor) {
    const std::vector<double> got = norms({Tensor::from({2}, {3, -4}), Tensor(), Tensor::full({5, 20000}, -0.5)});
    ASSERT_EQ(got.size(), 3U);
    EXPECT_DOUBLE_EQ(got[0], 5);
    EXPECT_EQ(got[1], 0);
    EXPECT_DOUBLE_EQ(got[2], std::sqrt(25000));
}

TEST(Clip, NormHasTheSameBitsForAnyNumberOfThreads) {
    std::vector<nn::Parameter> parameters = random_parameters();
    set_random_gradients(parameters, 1);
    double expected = 0;
    for (const int threads : {1, 2, 3, 5}) {
        const test::Threads limit(threads);
        if (threads == 1) expected = norm_of(parameters);
        EXPECT_EQ(norm_of(parameters), expected);
    }
}

TEST(Clip, ScaleBringsTheNormDownAndNeverUp) {
    EXPECT_DOUBLE_EQ(clip_scale(4, 0.5), 0.5 / (4 + 1e-6));
    EXPECT_EQ(clip_scale(4, 5), 1);
    EXPECT_EQ(clip_scale(0, 1e-9), 1e-3);  // 1e-9 / 1e-6, as in PyTorch
    EXPECT_TRUE(std::isnan(clip_scale(std::numeric_limits<double>::quiet_NaN(), 1)));
}

TEST(Clip, ScalesAllGradientsAlike) {
    std::vector<nn::Parameter> parameters = random_parameters();
    set_random_gradients(parameters, 2);
    const std::vector<float> before = all_gradients(parameters);
    const double scale = clip_scale(norm_of(parameters), 0.5);
    scale_gradients(parameters, scale);
    const std::vector<float> after = all_gradients(parameters);
    for (std::size_t i = 0; i < after.size(); ++i) EXPECT_EQ(after[i], before[i] * static_cast<float>(scale));
    EXPECT_NEAR(norm_of(parameters), 0.5, 1e-6);
}

// The gradient of a sum is one tensor for both terms; clipping in place must not scale it twice.
TEST(Clip, ScalesAGradientOnceThatTwoParametersShare) {
    std::vector<nn::Parameter> parameters{{"a", Tensor::from({2}, {1, 2})}, {"b", Tensor::from({2}, {3, 4})}};
    for (nn::Parameter& parameter : parameters) parameter.tensor.set_requires_grad();
    backward(add(parameters[0].tensor, parameters[1].tensor), {.gradient = Tensor::from({2}, {3, -4})});
    const double norm = norm_of(parameters);
    EXPECT_DOUBLE_EQ(norm, std::sqrt(50));
    scale_gradients(parameters, 1 / norm);
    for (const nn::Parameter& parameter : parameters) {
        EXPECT_NEAR(parameter.tensor.grad().at({0}), 3 / norm, 1e-6);
        EXPECT_NEAR(parameter.tensor.grad().at({1}), -4 / norm, 1e-6);
    }
}

}  // namespace
}  // namespace headscope::optim
