#include "autograd/ops/activation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <numbers>
#include <vector>

#include "autograd/graph.h"
#include "autograd/random.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

struct Case {
    const char* name;
    Tensor (*op)(const Tensor&);
    long double (*value)(long double);
    long double (*slope)(long double);
};

long double cdf(long double x) { return (1 + std::erf(x / std::numbers::sqrt2_v<long double>)) / 2; }
long double density(long double x) { return std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi_v<long double>); }
long double sigmoid(long double x) { return 1 / (1 + std::exp(-x)); }

const Case cases[] = {
    {"gelu", gelu, [](long double x) { return x * cdf(x); }, [](long double x) { return cdf(x) + x * density(x); }},
    {"relu", relu, [](long double x) { return x > 0 ? x : 0; }, [](long double x) { return x > 0 ? 1.0L : 0.0L; }},
    {"silu", silu, [](long double x) { return x * sigmoid(x); },
     [](long double x) { return sigmoid(x) + x * sigmoid(x) * (1 - sigmoid(x)); }},
};

Tensor random_tensor(const Shape& shape, DType dtype, const char* stream, double spread) {
    Tensor x = Tensor::empty(shape, DType::f64);
    const RandomStream random(11, stream);
    for (std::int64_t i = 0; i < x.numel(); ++i)
        x.data<double>()[i] = spread * random.normal(static_cast<std::uint64_t>(i));
    return x.to(dtype);
}

class ActivationOp : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(All, ActivationOp, ::testing::ValuesIn(cases), [](const auto& row) { return row.param.name; });

TEST_P(ActivationOp, ValueAndGradientFollowTheFormula) {
    for (const DType dtype : {DType::f32, DType::f64}) {
        Tensor x = random_tensor({5, 7, 11}, dtype, "x", 3);
        x.set_requires_grad();
        const Tensor dy = random_tensor(x.shape(), dtype, "dy", 1);
        const Tensor y = GetParam().op(x);
        backward(y, {.gradient = dy});

        const double tolerance = dtype == DType::f32 ? 1e-6 : 1e-14;
        const Tensor in = x.to(DType::f64);
        const Tensor upstream = dy.to(DType::f64);
        const Tensor out = y.to(DType::f64);
        const Tensor gradient = x.grad().to(DType::f64);
        for (std::size_t i = 0; i < in.values<double>().size(); ++i) {
            const long double v = in.values<double>()[i];
            EXPECT_NEAR(out.values<double>()[i], static_cast<double>(GetParam().value(v)), tolerance) << "x " << v;
            EXPECT_NEAR(gradient.values<double>()[i],
                        upstream.values<double>()[i] * static_cast<double>(GetParam().slope(v)), 4 * tolerance)
                << "x " << v;
        }
    }
}

TEST_P(ActivationOp, PassesNaN) {
    Tensor x = Tensor::full({3}, std::numeric_limits<double>::quiet_NaN());
    x.set_requires_grad();
    const Tensor y = GetParam().op(x);
    EXPECT_TRUE(std::isnan(y.at({1})));
}

TEST_P(ActivationOp, SameBitsForAnyNumberOfThreads) {
    std::vector<float> expected;
    for (const int threads : {1, 2, 3, 5}) {
        const test::Threads limit(threads);
        Tensor x = random_tensor({37, 1001}, DType::f32, "x", 2);
        x.set_requires_grad();
        const Tensor y = GetParam().op(x);
        backward(y, {.gradient = random_tensor(x.shape(), DType::f32, "dy", 1)});
        std::vector<float> got(y.values<float>().begin(), y.values<float>().end());
        got.insert(got.end(), x.grad().values<float>().begin(), x.grad().values<float>().end());
        if (threads == 1) expected = got;
        EXPECT_EQ(got, expected) << threads << " threads";
    }
}

TEST_P(ActivationOp, RefusesTokens) { EXPECT_THROW(GetParam().op(Tensor::zeros({2}, DType::i64)), Error); }

TEST(Relu, GradientAtZeroIsZero) {
    Tensor x = Tensor::from({3}, {-1, 0, 2});
    x.set_requires_grad();
    backward(relu(x), {.gradient = Tensor::from({3}, {5, 6, 7})});
    EXPECT_EQ(x.grad().at({0}), 0);
    EXPECT_EQ(x.grad().at({1}), 0);
    EXPECT_EQ(x.grad().at({2}), 7);
}

}  // namespace
}  // namespace headscope
