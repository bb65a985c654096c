#include "autograd/kernels/vector_math.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "autograd/random.h"

namespace headscope::kernels {
namespace {

/// |got - exact| in units of the last place of the exact value, rounded to T.
template <class T>
double ulps(T got, long double exact) {
    const T rounded = std::fabs(static_cast<T>(exact));
    const T next = std::nextafter(rounded, std::numeric_limits<T>::infinity());
    return static_cast<double>(std::fabs(static_cast<long double>(got) - exact) /
                               static_cast<long double>(next - rounded));
}

template <class T>
class VectorMath : public ::testing::Test {};
using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(VectorMath, Scalars);

TYPED_TEST(VectorMath, ExpIsWithinTwoUlps) {
    using T = TypeParam;
    const double low = sizeof(T) == 4 ? -110 : -760;
    const double high = sizeof(T) == 4 ? 88.7 : 709.7;
    const RandomStream random(3, "exp");
    double worst = 0;
    for (std::uint64_t i = 0; i < 400000; ++i) {
        const double range = i % 2 == 0 ? low + (high - low) * random.uniform(i) : 4 * random.uniform(i) - 2;
        const T x = static_cast<T>(range);
        worst = std::max(worst, ulps(fast_exp(x), std::exp(static_cast<long double>(x))));
    }
    EXPECT_LT(worst, 1.5);
}

TYPED_TEST(VectorMath, ExpAtTheEdges) {
    using T = TypeParam;
    constexpr T infinity = std::numeric_limits<T>::infinity();
    EXPECT_EQ(fast_exp(T{0}), T{1});
    EXPECT_EQ(fast_exp(-T{0}), T{1});
    EXPECT_EQ(fast_exp(-infinity), T{0});
    EXPECT_EQ(fast_exp(std::numeric_limits<T>::lowest()), T{0});
    EXPECT_EQ(fast_exp(infinity), infinity);
    EXPECT_EQ(fast_exp(std::numeric_limits<T>::max()), infinity);
    EXPECT_TRUE(std::isnan(fast_exp(std::numeric_limits<T>::quiet_NaN())));
    const T overflow = std::log(std::numeric_limits<T>::max());
    EXPECT_TRUE(std::isfinite(fast_exp(std::nextafter(overflow, T{0}))));
    EXPECT_EQ(fast_exp(overflow + T{0.0625}), infinity);
    EXPECT_EQ(fast_exp(std::log(std::numeric_limits<T>::denorm_min()) + T{0.0625}),
              std::numeric_limits<T>::denorm_min());
}

TEST(FastExp, LanesOfAVectorHaveTheBitsOfTheScalar) {
    constexpr int lanes = Simd<float>::lanes;
    const RandomStream random(4, "lanes");
    for (std::uint64_t i = 0; i < 20000; ++i) {
        float x[lanes];
        float y[lanes];
        for (int l = 0; l < lanes; ++l)
            x[l] = static_cast<float>(
                220 * random.uniform(static_cast<std::uint64_t>(lanes) * i + static_cast<std::uint64_t>(l)) - 115);
        if (i == 0) x[3] = -0.0F, x[4] = std::numeric_limits<float>::infinity(), x[5] = -x[4];
        Simd<float>::store(y, fast_exp(Simd<float>::load(x)));
        for (int l = 0; l < lanes; ++l) ASSERT_EQ(y[l], fast_exp(x[l])) << "x " << x[l];
    }
    EXPECT_TRUE(std::isnan(fast_exp(Simd<float>::broadcast(std::numeric_limits<float>::quiet_NaN()))[1]));
}

// Loops over elements are cut by the compiler into vector bodies and scalar rests; both must give the same bits.
TYPED_TEST(VectorMath, ElementsDoNotDependOnTheirPlace) {
    using T = TypeParam;
    const RandomStream random(5, "place");
    for (std::uint64_t trial = 0; trial < 50; ++trial) {
        const T x = static_cast<T>(6 * random.uniform(trial) - 3);
        for (std::size_t n = 1; n < 70; ++n) {
            const std::vector<T> values(n, x);
            std::vector<T> exps(n);
            for (std::size_t i = 0; i < n; ++i) exps[i] = fast_exp(values[i]);
            EXPECT_EQ(exps, std::vector<T>(n, fast_exp(x)));
        }
    }
}

TYPED_TEST(VectorMath, RowReductionsAreRightAtEveryLength) {
    using T = TypeParam;
    const RandomStream random(6, "rows");
    for (std::int64_t n = 0; n < 200; ++n) {
        std::vector<T> a;
        std::vector<T> b;
        T most = -std::numeric_limits<T>::infinity();
        long double total = 0;
        long double products = 0;
        for (std::int64_t i = 0; i < n; ++i) {
            const auto index = static_cast<std::uint64_t>(1000 * n + 2 * i);
            a.push_back(static_cast<T>(random.normal(index)));
            b.push_back(static_cast<T>(random.normal(index + 1)));
            most = std::max(most, a.back());
            total += a.back();
            products += static_cast<long double>(a.back()) * b.back();
        }
        const double tolerance = 100 * static_cast<double>(std::numeric_limits<T>::epsilon());
        EXPECT_EQ(row_max(a.data(), n), most);
        EXPECT_NEAR(row_sum(a.data(), n), static_cast<double>(total), tolerance);
        EXPECT_NEAR(row_dot(a.data(), b.data(), n), static_cast<double>(products), tolerance);
    }
}

// The same values at every alignment, by a plain loop over lanes that spells out the promised order.
TYPED_TEST(VectorMath, RowReductionsDoNotDependOnAlignment) {
    using T = TypeParam;
    constexpr auto lanes = static_cast<std::size_t>(row_lanes<T>);
    const RandomStream random(7, "alignment");
    const std::size_t n = 177;
    std::vector<T> memory(n + lanes);
    std::vector<T> squares(lanes);
    for (std::size_t i = 0; i < n; ++i) {
        const T x = static_cast<T>(random.normal(i));
        squares[i % lanes] += x * x;
    }
    for (std::size_t half = lanes / 2; half > 0; half /= 2) {
        for (std::size_t l = 0; l < half; ++l) squares[l] += squares[l + half];
    }
    for (std::size_t offset = 0; offset < lanes; ++offset) {
        T* x = memory.data() + offset;
        for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<T>(random.normal(i));
        EXPECT_EQ(row_dot(x, x, static_cast<std::int64_t>(n)), squares[0]) << "offset " << offset;
    }
}

TYPED_TEST(VectorMath, ZerosAfterARowDoNotChangeItsSums) {
    using T = TypeParam;
    const RandomStream random(9, "zeros");
    for (std::int64_t n = 1; n < 150; ++n) {
        std::vector<T> x(static_cast<std::size_t>(n));
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(random.normal(i));
        const T sum = row_sum(x.data(), n);
        const T dot = row_dot(x.data(), x.data(), n);
        x.resize(x.size() + 40);
        EXPECT_EQ(row_sum(x.data(), n + 40), sum);
        EXPECT_EQ(row_dot(x.data(), x.data(), n + 40), dot);
    }
}

TYPED_TEST(VectorMath, SoftmaxRowFollowsTheFormulaAndKeepsToItsRow) {
    using T = TypeParam;
    const RandomStream random(10, "softmax");
    const T scale = static_cast<T>(0.3);
    for (std::int64_t n = 1; n < 150; ++n) {
        std::vector<T> x(static_cast<std::size_t>(n) + 1, T{5});
        std::vector<long double> powers(static_cast<std::size_t>(n));
        long double total = 0;
        for (std::size_t i = 0; i < powers.size(); ++i) {
            x[i] = static_cast<T>(400 + 20 * random.normal(i));
            if (i % 7 == 3) x[i] = -std::numeric_limits<T>::infinity();
            powers[i] = std::exp(static_cast<long double>(scale) * (static_cast<long double>(x[i]) - 400));
            total += powers[i];
        }
        softmax_row(x.data(), n, scale);
        for (std::size_t i = 0; i < powers.size(); ++i)
            ASSERT_NEAR(x[i], static_cast<double>(powers[i] / total),
                        40 * static_cast<double>(std::numeric_limits<T>::epsilon()))
                << i << " of " << n;
        EXPECT_EQ(x.back(), 5);
    }
}

TYPED_TEST(VectorMath, SoftmaxRowOfNothingVisibleIsZeroUnlessANaNIsThere) {
    using T = TypeParam;
    std::vector<T> x(19, -std::numeric_limits<T>::infinity());
    softmax_row(x.data(), 19, T{2});
    EXPECT_EQ(x, std::vector<T>(19));
    std::fill(x.begin(), x.end(), -std::numeric_limits<T>::infinity());
    x[17] = std::numeric_limits<T>::quiet_NaN();
    softmax_row(x.data(), 19, T{2});
    EXPECT_TRUE(std::isnan(x[17]));
}

// However large the product of scale and entry: one entry far above the others gets 1, the others 0.
TYPED_TEST(VectorMath, SoftmaxRowIsExactWhereOneEntryTakesAll) {
    using T = TypeParam;
    const RandomStream random(11, "saturated");
    std::uint64_t draw = 0;
    const double most = static_cast<double>(std::numeric_limits<T>::max());
    for (const double scale : {0.125, 1 / std::sqrt(8.0), 1 / std::sqrt(32.0), 1.0, 3.0})
        for (double size = 1e3; size < most / 8; size *= 7)
            for (const std::int64_t n : {1, 2, 7, 8, 15, 16, 17, 32, 48, 64, 100, 128, 131, 200})
                for (const double sign : {-1.0, 1.0}) {
                    const double level = sign * size * (1 + random.uniform(draw));
                    std::vector<T> x(static_cast<std::size_t>(n));
                    for (T& entry : x) {
                        ++draw;
                        entry = static_cast<T>(level - (2000 / scale + size) * (1 + random.uniform(draw)));
                    }
                    const std::size_t top = draw % x.size();
                    x[top] = static_cast<T>(level);
                    softmax_row(x.data(), n, static_cast<T>(scale));
                    for (std::size_t i = 0; i < x.size(); ++i)
                        ASSERT_EQ(x[i], i == top ? T{1} : T{0}) << n << " entries, scale " << scale << ", " << level;
                }
}

// Entries of a large size that differ by little, against the formula in long double.
TYPED_TEST(VectorMath, SoftmaxRowFollowsTheFormulaAtLargeEntries) {
    using T = TypeParam;
    const RandomStream random(12, "large");
    for (const double scale : {1 / std::sqrt(8.0), 1.0})
        for (const double level : {1e3, -4e3, 1e5, -1e7, 1e9, 3e12, -1e16})
            for (std::int64_t n = 1; n < 140; n += 3) {
                const T spacing = std::nextafter(static_cast<T>(std::fabs(level)), std::numeric_limits<T>::max()) -
                                  static_cast<T>(std::fabs(level));
                const double spread = std::max(3.0, 4 * static_cast<double>(spacing));
                std::vector<T> x(static_cast<std::size_t>(n));
                for (std::size_t i = 0; i < x.size(); ++i)
                    x[i] = static_cast<T>(level + spread * random.normal(i + 1000 * static_cast<std::uint64_t>(n)));
                const long double largest = *std::max_element(x.begin(), x.end());
                std::vector<long double> powers;
                long double total = 0;
                for (const T entry : x) {
                    powers.push_back(std::exp(static_cast<long double>(static_cast<T>(scale)) * (entry - largest)));
                    total += powers.back();
                }
                softmax_row(x.data(), n, static_cast<T>(scale));
                double sum = 0;
                for (std::size_t i = 0; i < x.size(); ++i) {
                    sum += static_cast<double>(x[i]);
                    ASSERT_NEAR(x[i], static_cast<double>(powers[i] / total),
                                40 * static_cast<double>(std::numeric_limits<T>::epsilon()))
                        << i << " of " << n << ", around " << level;
                }
                ASSERT_NEAR(sum, 1, 20 * static_cast<double>(std::numeric_limits<T>::epsilon()));
            }
}

TYPED_TEST(VectorMath, SoftmaxRowOfInfiniteEntriesIsNaN) {
    using T = TypeParam;
    for (const std::int64_t n : {16, 19}) {
        std::vector<T> x(static_cast<std::size_t>(n), T{1});
        x[3] = std::numeric_limits<T>::infinity();
        EXPECT_TRUE(std::isnan(softmax_row(x.data(), n, T{2})));
        EXPECT_TRUE(std::isnan(x[3]));
    }
}

TEST(RowMax, PassesOverNaN) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::vector<float> x(40, nan);
    x[35] = -3;
    EXPECT_EQ(row_max(x.data(), 40), -3);
}

}  // namespace
}  // namespace headscope::kernels
