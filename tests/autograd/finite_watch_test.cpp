#include "autograd/finite_watch.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "autograd/graph.h"
#include "autograd/ops.h"

namespace headscope {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

Tensor leaf(const Shape& shape, std::initializer_list<double> values) {
    Tensor tensor = Tensor::from(shape, std::span<const double>(values.begin(), values.size()));
    return tensor.set_requires_grad();
}

TEST(FiniteWatch, NamesTheFirstOutput) {
    const Tensor x = leaf({2, 3}, {1, 2, 3, 4, 0, 6}), y = leaf({3}, {1, 1, 1});
    const FiniteWatch watch;
    const Tensor sum = add(x, y);
    EXPECT_FALSE(watch.found());
    log(add(x, y));
    const Tensor z = log(x);  // log 0 at [1, 1]
    exp(z);
    sqrt(neg(x));
    ASSERT_TRUE(watch.found());
    EXPECT_EQ(watch.found()->op, "log");
    EXPECT_FALSE(watch.found()->backward);
    EXPECT_EQ(watch.found()->number, 2);
    EXPECT_EQ(watch.found()->shape, Shape({2, 3}));
    EXPECT_EQ(watch.found()->element.at, (std::vector<std::int64_t>{1, 1}));
    EXPECT_EQ(watch.found()->element.value, -infinity);
    ASSERT_EQ(watch.found()->parameters.size(), 1U);
    EXPECT_EQ(watch.found()->parameters[0].id(), x.id());
}

TEST(FiniteWatch, NamesTheFirstGradient) {
    const Tensor x = leaf({4}, {1, 4, 0, 9});
    const FiniteWatch watch;
    backward(sum(mul(sqrt(x), sqrt(x))));  // d sqrt at 0 is infinite, and 0 * inf is nan
    ASSERT_TRUE(watch.found());
    EXPECT_EQ(watch.found()->op, "sqrt");
    EXPECT_TRUE(watch.found()->backward);
    EXPECT_EQ(watch.found()->element.at, (std::vector<std::int64_t>{2}));
    ASSERT_EQ(watch.found()->parameters.size(), 1U);
    EXPECT_EQ(watch.found()->parameters[0].id(), x.id());
}

TEST(FiniteWatch, SeesNothingWhereAllIsFiniteAndWhenItIsGone) {
    const Tensor x = leaf({2}, {1, 0});
    {
        const FiniteWatch watch;
        backward(sum(exp(x)));
        EXPECT_FALSE(watch.found());
        const NoGrad no_grad;
        log(x);  // nobody trains on it
        EXPECT_FALSE(watch.found());
    }
    log(x);
    EXPECT_FALSE(FiniteWatch::watching());
}

TEST(FiniteWatch, FirstNotFinite) {
    EXPECT_FALSE(first_not_finite(leaf({2, 2}, {1, 2, 3, 4})));
    EXPECT_EQ(first_not_finite(leaf({2, 2}, {1, 2, infinity, std::nan("")}))->at, (std::vector<std::int64_t>{1, 0}));
    EXPECT_TRUE(first_not_finite(leaf({}, {-infinity}))->at.empty());
    EXPECT_TRUE(std::isnan(first_not_finite(leaf({2}, {1, std::nan("")}))->value));
    EXPECT_FALSE(first_not_finite(Tensor()));
    EXPECT_FALSE(first_not_finite(Tensor::zeros({3}, DType::i64)));
}

}  // namespace
}  // namespace headscope
