#include "autograd/ops/elementwise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "autograd/graph.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using test::random_tensor;

constexpr double inf = std::numeric_limits<double>::infinity();

/// Largest relative error of y against function(x), in units of the dtype's last place.
template <class Function>
double worst_ulps(const Tensor& x, const Tensor& y, Function function) {
    const Tensor wide_x = x.to(DType::f64);
    const Tensor wide_y = y.to(DType::f64);
    const double unit = x.dtype() == DType::f32 ? 1.2e-7 : 2.3e-16;
    double worst = 0;
    for (std::int64_t i = 0; i < x.numel(); ++i) {
        const auto right = static_cast<double>(function(static_cast<long double>(wide_x.data<double>()[i])));
        worst = std::max(worst, std::fabs(wide_y.data<double>()[i] - right) / (unit * std::fabs(right)));
    }
    return worst;
}

TEST(Elementwise, ValuesAreExact) {
    for (const DType dtype : {DType::f32, DType::f64}) {
        const Tensor x = random_tensor({7, 31}, 3, dtype);
        Tensor positive = x.clone();
        dispatch_float(dtype, "test", [&](auto zero) {
            using T = decltype(zero);
            for (std::int64_t i = 0; i < x.numel(); ++i) positive.data<T>()[i] = std::fabs(x.data<T>()[i]);
        });
        EXPECT_LT(worst_ulps(x, exp(x), [](long double v) { return std::exp(v); }), 2);
        EXPECT_LT(worst_ulps(positive, log(positive), [](long double v) { return std::log(v); }), 2);
        EXPECT_LT(worst_ulps(x, tanh(x), [](long double v) { return std::tanh(v); }), 3);
        EXPECT_LT(worst_ulps(x, sigmoid(x), [](long double v) { return 1 / (1 + std::exp(-v)); }), 3);
        EXPECT_LT(worst_ulps(x, pow(x, 3), [](long double v) { return v * v * v; }), 2);
        EXPECT_LT(worst_ulps(positive, pow(positive, 0.25), [](long double v) { return std::pow(v, 0.25L); }), 2);
    }
}

TEST(Elementwise, FarOut) {
    const Tensor x = Tensor::from({3}, {-inf, inf, std::nan("")}, DType::f64);
    const auto expect = [](const Tensor& y, double low, double high) {
        EXPECT_EQ(y.at({0}), low);
        EXPECT_EQ(y.at({1}), high);
        EXPECT_TRUE(std::isnan(y.at({2})));
    };
    expect(exp(x), 0, inf);
    expect(tanh(x), -1, 1);
    expect(sigmoid(x), 0, 1);
    EXPECT_TRUE(std::isnan(log(x).at({0})));
    EXPECT_EQ(log(Tensor::zeros({})).item(), -inf);
    EXPECT_TRUE(std::isnan(pow(Tensor::full({}, -2), 0.5).item()));
}

TEST(Pow, GradientsWherePowersEnd) {
    Tensor x = Tensor::from({3}, {0, -2, 3}, DType::f64);
    x.set_requires_grad();
    const Tensor g = Tensor::from({3}, {5, 7, 11}, DType::f64);
    backward(pow(x, 0), {.gradient = g});
    for (const double value : x.grad().values<double>()) EXPECT_EQ(value, 0);
    x.set_grad({});
    backward(pow(x, 1), {.gradient = g});
    EXPECT_TRUE(test::same_bits(x.grad(), g));
    x.set_grad({});

    Tensor e = Tensor::from({3}, {2, 2, 0}, DType::f64);
    e.set_requires_grad();
    const Tensor y = pow(x, e);
    backward(y, {.gradient = g});
    EXPECT_TRUE(test::same_bits(y, Tensor::from({3}, {0, 4, 1}, DType::f64)));
    EXPECT_TRUE(test::same_bits(x.grad(), Tensor::from({3}, {0, -28, 0}, DType::f64)));
    EXPECT_EQ(e.grad().at({0}), 0);             // 0^e stays 0
    EXPECT_TRUE(std::isnan(e.grad().at({1})));  // (-2)^e is not real nearby
    EXPECT_EQ(e.grad().at({2}), 11 * std::log(3));
}

TEST(Sqrt, ValueAndGradient) {
    Tensor x = Tensor::from({3}, {0.25, 9, 2}, DType::f64);
    x.set_requires_grad();
    const Tensor y = sqrt(x);
    backward(y, {.gradient = Tensor::from({3}, {3, -6, 1}, DType::f64)});
    EXPECT_EQ(y.at({0}), 0.5);
    EXPECT_EQ(y.at({1}), 3);
    EXPECT_DOUBLE_EQ(y.at({2}), std::numbers::sqrt2);
    EXPECT_EQ(x.grad().at({0}), 3);
    EXPECT_EQ(x.grad().at({1}), -1);
    EXPECT_DOUBLE_EQ(x.grad().at({2}), 0.5 / std::numbers::sqrt2);
}

}  // namespace
}  // namespace headscope
