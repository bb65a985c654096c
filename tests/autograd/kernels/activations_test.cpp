#include "autograd/kernels/activations.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <vector>

#include "autograd/random.h"

namespace headscope::kernels {
namespace {

constexpr Activation all[] = {Activation::gelu, Activation::relu, Activation::silu};

struct Exact {
    long double value;
    long double slope;
};

Exact exact(Activation which, long double x) {
    if (which == Activation::relu) return {x > 0 ? x : 0, x > 0 ? 1.0L : 0.0L};
    if (which == Activation::silu) {
        const long double s = 1 / (1 + std::exp(-x));
        return {x * s, s + x * s / (1 + std::exp(x))};
    }
    const long double cdf = std::erfc(-x / std::numbers::sqrt2_v<long double>) / 2;
    return {x * cdf, cdf + x * std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi_v<long double>)};
}

template <class T>
struct Rows {
    std::vector<T> value;
    std::vector<T> slope;
};

template <class T>
Rows<T> run(Activation which, const std::vector<T>& x) {
    Rows<T> rows{std::vector<T>(x.size()), std::vector<T>(x.size())};
    activate_with_slope(which, x.data(), rows.value.data(), rows.slope.data(), static_cast<std::int64_t>(x.size()));
    return rows;
}

/// Points from `low` to `high`, none of them on a grid.
template <class T>
std::vector<T> points(double low, double high, std::size_t count) {
    std::vector<T> x(count);
    const RandomStream random(8, "points");
    for (std::size_t i = 0; i < count; ++i) x[i] = static_cast<T>(low + (high - low) * random.uniform(i));
    return x;
}

/// The worst |got - exact| / |exact| of the values, in units of the type's epsilon.
template <class T>
double worst_value(Activation which, double low, double high) {
    const std::vector<T> x = points<T>(low, high, 100000);
    const Rows<T> got = run(which, x);
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        const long double truth = exact(which, x[i]).value;
        worst = std::max(worst, static_cast<double>(std::fabs((got.value[i] - truth) / truth)));
    }
    return worst / static_cast<double>(std::numeric_limits<T>::epsilon());
}

template <class T>
class ActivationKernels : public ::testing::Test {};
using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(ActivationKernels, Scalars);

TEST(ActivationKernel, GeluKeepsItsDigitsInBothTails) {
    EXPECT_LT(worst_value<float>(Activation::gelu, -0.6, 0), 1.2);
    EXPECT_LT(worst_value<float>(Activation::gelu, -2, -0.6), 2.5);
    EXPECT_LT(worst_value<float>(Activation::gelu, -12.9, -2), 4);
    EXPECT_LT(worst_value<float>(Activation::gelu, 0, 20), 1.1);
    EXPECT_LT(worst_value<double>(Activation::gelu, -5, 20), 30);
}

TEST(ActivationKernel, SiluKeepsItsDigitsInBothTails) {
    EXPECT_LT(worst_value<float>(Activation::silu, -80, 0), 2.5);
    EXPECT_LT(worst_value<float>(Activation::silu, 0, 120), 2.5);
    EXPECT_LT(worst_value<double>(Activation::silu, -700, 800), 2.5);
}

TYPED_TEST(ActivationKernels, SlopeFollowsTheFormula) {
    using T = TypeParam;
    for (const Activation which : all) {
        const std::vector<T> x = points<T>(-14, 14, 100000);
        const Rows<T> got = run(which, x);
        for (std::size_t i = 0; i < x.size(); ++i) {
            const double error = static_cast<double>(got.slope[i] - exact(which, x[i]).slope);
            ASSERT_LT(std::fabs(error), 2.5 * static_cast<double>(std::numeric_limits<T>::epsilon())) << "x " << x[i];
        }
    }
}

TYPED_TEST(ActivationKernels, LimitsAtInfinityAndNaN) {
    using T = TypeParam;
    constexpr T infinity = std::numeric_limits<T>::infinity();
    constexpr T huge = std::numeric_limits<T>::max();
    for (const Activation which : all) {
        const Rows<T> got = run<T>(which, {infinity, huge, -infinity, -huge, std::numeric_limits<T>::quiet_NaN()});
        EXPECT_EQ(got.value[0], infinity);
        EXPECT_EQ(got.value[1], huge);
        EXPECT_EQ(got.value[2], 0);
        EXPECT_EQ(got.value[3], 0);
        EXPECT_EQ(got.slope[0], 1);
        EXPECT_EQ(got.slope[1], 1);
        EXPECT_EQ(got.slope[2], 0);
        EXPECT_EQ(got.slope[3], 0);
        EXPECT_TRUE(std::isnan(got.value[4]));
    }
}

// The same bits at any place of a row of any length, with and without slopes, in place or not.
TYPED_TEST(ActivationKernels, ElementsDoNotDependOnTheirPlace) {
    using T = TypeParam;
    const std::vector<T> x = points<T>(-9, 9, 67);
    for (const Activation which : all) {
        const Rows<T> whole = run(which, x);
        for (std::size_t begin = 0; begin < x.size(); ++begin) {
            for (std::size_t end = begin; end <= x.size(); ++end) {
                const auto at = [](const std::vector<T>& row, std::size_t i) {
                    return row.begin() + static_cast<std::ptrdiff_t>(i);
                };
                const std::vector<T> part(at(x, begin), at(x, end));
                const Rows<T> got = run(which, part);
                ASSERT_EQ(got.value, std::vector<T>(at(whole.value, begin), at(whole.value, end)));
                ASSERT_EQ(got.slope, std::vector<T>(at(whole.slope, begin), at(whole.slope, end)));
            }
        }
        std::vector<T> alone = x;
        activate(which, alone.data(), alone.data(), static_cast<std::int64_t>(x.size()));
        EXPECT_EQ(alone, whole.value);
    }
}

}  // namespace
}  // namespace headscope::kernels
