#include "autograd/ops/selection.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "autograd/graph.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using test::random_leaf;
using test::random_tensor;
using test::same_bits;

constexpr double inf = std::numeric_limits<double>::infinity();

TEST(Where, AllThreeStretch) {
    const Tensor condition = Tensor::from({2, 1}, {1, 0}, DType::boolean);
    const Tensor a = Tensor::from({3}, {1, 2, 3});
    const Tensor b = Tensor::from({2, 2, 1}, {-1, -2, -3, -4});
    EXPECT_TRUE(same_bits(where(condition, a, b), Tensor::from({2, 2, 3}, {1, 2, 3, -2, -2, -2, 1, 2, 3, -4, -4, -4})));
}

TEST(Where, TheOtherSideIsNeverTouched) {
    const Tensor condition = Tensor::from({3}, {1, 0, 1}, DType::boolean);
    Tensor a = Tensor::from({3}, {1, std::nan(""), 3}, DType::f64).set_requires_grad();
    Tensor b = Tensor::from({3}, {inf, 5, -inf}, DType::f64).set_requires_grad();
    const Tensor y = where(condition, a, b);
    EXPECT_TRUE(same_bits(y, Tensor::from({3}, {1, 5, 3}, DType::f64)));
    backward(y, {.gradient = Tensor::from({3}, {7, inf, -11}, DType::f64)});
    EXPECT_TRUE(same_bits(a.grad(), Tensor::from({3}, {7, 0, -11}, DType::f64)));
    EXPECT_TRUE(same_bits(b.grad(), Tensor::from({3}, {0, inf, 0}, DType::f64)));
}

TEST(MaskedFill, FillsWhereTrue) {
    Tensor x = random_leaf({2, 3}, 1);
    const Tensor mask = Tensor::from({3}, {0, 1, 0}, DType::boolean);
    const Tensor y = masked_fill(x, mask, -inf);
    const Tensor g = random_tensor({2, 3}, 2);
    backward(y, {.gradient = g});
    for (std::int64_t i = 0; i < 2; ++i)
        for (std::int64_t j = 0; j < 3; ++j) {
            EXPECT_EQ(y.at({i, j}), j == 1 ? -inf : x.at({i, j}));
            EXPECT_EQ(x.grad().at({i, j}), j == 1 ? 0 : g.at({i, j}));
        }
}

}  // namespace
}  // namespace headscope
