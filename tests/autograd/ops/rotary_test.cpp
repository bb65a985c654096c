#include "autograd/ops/rotary.h"

#include <gtest/gtest.h>

#include <cmath>

#include "autograd/ops/indexing.h"
#include "autograd/ops/matmul.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using test::difference;
using test::random_tensor;
using test::same_bits;

TEST(Rotary, TurnsEveryPlane) {
    const Tensor x = random_tensor({2, 5, 12}, 1, DType::f64);  // 2 heads of 6 columns
    const Tensor y = rotary(x, 2, 100);
    for (std::int64_t b = 0; b < 2; ++b)
        for (std::int64_t t = 0; t < 5; ++t)
            for (std::int64_t h = 0; h < 2; ++h)
                for (std::int64_t i = 0; i < 3; ++i) {
                    const double angle = static_cast<double>(t) * std::pow(100, -2 * static_cast<double>(i) / 6);
                    const double first = x.at({b, t, h * 6 + i});
                    const double second = x.at({b, t, h * 6 + i + 3});
                    EXPECT_NEAR(y.at({b, t, h * 6 + i}), first * std::cos(angle) - second * std::sin(angle), 1e-14);
                    EXPECT_NEAR(y.at({b, t, h * 6 + i + 3}), first * std::sin(angle) + second * std::cos(angle), 1e-14);
                }
}

TEST(Rotary, FirstPositionStays) {
    const Tensor x = random_tensor({3, 1, 8}, 1);
    EXPECT_TRUE(same_bits(rotary(x, 2), x));
}

// The product of a query and a key depends on how far apart they are, not on where they are.
TEST(Rotary, ScoresDependOnTheDistance) {
    const Tensor q = random_tensor({1, 1, 6}, 1, DType::f64);
    const Tensor k = random_tensor({1, 1, 6}, 2, DType::f64);
    std::vector<Tensor> queries(9, q), keys(9, k);
    const Tensor scores = matmul(rotary(concat(queries, 1), 1), rotary(concat(keys, 1), 1), false, true);
    for (std::int64_t i = 0; i < 8; ++i)
        for (std::int64_t j = 0; j < 8; ++j) EXPECT_NEAR(scores.at({0, i + 1, j + 1}), scores.at({0, i, j}), 1e-13);
    EXPECT_GT(std::fabs(scores.at({0, 0, 3}) - scores.at({0, 0, 0})), 1e-3);
}

TEST(Rotary, EqualHeadsStayEqual) {
    const Tensor head = random_tensor({2, 5, 6}, 1);
    const Tensor y = rotary(concat({head, head, head}, 2), 3);
    const Tensor alone = rotary(head, 1);
    for (std::int64_t h = 0; h < 3; ++h) EXPECT_TRUE(same_bits(slice(y, 2, h * 6, h * 6 + 6), alone));
}

TEST(Rotary, SingleIsRoundedDouble) {
    const Tensor x = random_tensor({1, 400, 8}, 1);
    EXPECT_LT(difference(rotary(x, 2), rotary(x.to(DType::f64), 2)), 2e-7);
}

}  // namespace
}  // namespace headscope
