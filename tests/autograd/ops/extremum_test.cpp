#include "autograd/ops/extremum.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "autograd/graph.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using test::same_bits;

constexpr double inf = std::numeric_limits<double>::infinity();

TEST(Max, AxesAndShapes) {
    const Tensor x = Tensor::from({2, 3}, {1, 7, 3, 4, 5, -6});
    EXPECT_TRUE(same_bits(max(x), Tensor::from({}, {7})));
    EXPECT_TRUE(same_bits(max(x, {0}), Tensor::from({3}, {4, 7, 3})));
    EXPECT_TRUE(same_bits(max(x, {-1}, true), Tensor::from({2, 1}, {7, 5})));
    EXPECT_TRUE(same_bits(max(x, {1, 0}, true), Tensor::from({1, 1}, {7})));
    EXPECT_EQ(max(Tensor::zeros({0, 3}), {1}).shape().str(), "[0]");
}

TEST(Max, TiesShareTheGradient) {
    Tensor x = Tensor::from({2, 4}, {3, 1, 3, 3, -2, -2, -5, -7}, DType::f64).set_requires_grad();
    backward(max(x, {1}), {.gradient = Tensor::from({2}, {6, -5}, DType::f64)});
    const Tensor expected = Tensor::from({2, 4}, {2, 0, 2, 2, -2.5, -2.5, 0, 0}, DType::f64);
    EXPECT_EQ(test::difference(x.grad(), expected), 0);
}

TEST(Max, NotANumberWins) {
    const Tensor x = Tensor::from({3, 3}, {1, std::nan(""), 2, -inf, -inf, -inf, inf, 0, inf});
    const Tensor y = max(x, {1});
    EXPECT_TRUE(std::isnan(y.at({0})));
    EXPECT_EQ(y.at({1}), -inf);
    EXPECT_EQ(y.at({2}), inf);
}

TEST(LogSumExp, LargeAndInfiniteValues) {
    Tensor x = Tensor::from({5, 2}, {1000, 1000, -1000, -1001, -inf, -inf, inf, 3, -inf, 2}, DType::f64);
    x.set_requires_grad();
    const Tensor y = logsumexp(x, {1});
    EXPECT_DOUBLE_EQ(y.at({0}), 1000 + std::log(2));
    EXPECT_DOUBLE_EQ(y.at({1}), -1000 + std::log1p(std::exp(-1)));
    EXPECT_EQ(y.at({2}), -inf);
    EXPECT_EQ(y.at({3}), inf);
    EXPECT_EQ(y.at({4}), 2);
    backward(y, {.gradient = Tensor::from({5}, {6, 1, 7, 0, 5}, DType::f64)});
    EXPECT_EQ(x.grad().at({0, 0}), 3);
    EXPECT_EQ(x.grad().at({0, 1}), 3);
    EXPECT_NEAR(x.grad().at({1, 0}), 1 / (1 + std::exp(-1)), 1e-12);
    EXPECT_EQ(x.grad().at({2, 0}), 0);
    EXPECT_EQ(x.grad().at({4, 0}), 0);
    EXPECT_EQ(x.grad().at({4, 1}), 5);
    EXPECT_EQ(logsumexp(Tensor::zeros({2, 0}), {1}).at({1}), -inf);
}

// y = 1e9 + ln 2 is rounded to 1e9 in f32; the gradient, a softmax, sums to 1 all the same.
TEST(LogSumExp, GradientAtVeryLargeValues) {
    Tensor x = Tensor::from({2, 3}, {1e9, 1e9, 9e8, 5000, 4999, 4000});
    x.set_requires_grad();
    backward(logsumexp(x, {1}), {.gradient = Tensor::from({2}, {1, 1})});
    EXPECT_EQ(x.grad().at({0, 0}), 0.5);
    EXPECT_EQ(x.grad().at({0, 1}), 0.5);
    EXPECT_EQ(x.grad().at({0, 2}), 0);
    EXPECT_NEAR(x.grad().at({1, 0}), 1 / (1 + std::exp(-1)), 1e-7);
    EXPECT_NEAR(x.grad().at({1, 1}), 1 / (1 + std::exp(1)), 1e-7);
}

}  // namespace
}  // namespace headscope
