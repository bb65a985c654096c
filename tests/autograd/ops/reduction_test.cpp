#include "autograd/ops/reduction.h"

#include <gtest/gtest.h>

#include <cmath>

#include "autograd/graph.h"
#include "autograd/ops/arithmetic.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using test::random_tensor;
using test::same_bits;

// Sums an f32 tensor to `shape` the plain way, in f64.
Tensor plain_sum_to(const Tensor& x, const Shape& shape) {
    Tensor result = Tensor::zeros(shape, DType::f64);
    for (std::int64_t i = 0; i < x.numel(); ++i) {
        std::int64_t rest = i;
        std::int64_t offset = 0;
        std::int64_t step = 1;
        for (int axis = x.rank() - 1, own = shape.rank() - 1; own >= 0; --axis, --own) {
            if (shape[own] > 1) offset += rest % x.shape()[axis] * step;
            rest /= x.shape()[axis];
            step *= shape[own];
        }
        result.data<double>()[offset] += static_cast<double>(x.data<float>()[i]);
    }
    return result;
}

struct Target {
    Shape from;
    Shape to;
};

const Target targets[] = {
    {{2, 3, 5}, {}},
    {{2, 3, 5}, {1, 1, 1}},
    {{2, 3, 5}, {5}},
    {{2, 3, 5}, {3, 5}},
    {{2, 3, 5}, {2, 3, 1}},
    {{2, 3, 5}, {3, 1}},
    {{2, 3, 5}, {2, 1, 5}},
    {{2, 3, 4, 5, 6, 7}, {2, 1, 4, 1, 6, 1}},
    {{2, 3, 4, 5, 6, 7}, {3, 1, 5, 1, 7}},
    {{1, 4, 1}, {4, 1}},
    {{2000, 65}, {65}},     // several blocks of rows
    {{7, 1300}, {1300}},    // several blocks of columns
    {{700, 1300}, {1300}},  // both
    {{3, 700, 530}, {3, 1, 530}},
    {{100000}, {}},  // several blocks of one sum
    {{50001, 2}, {2}},
    {{3, 40000}, {3, 1}},
    {{0, 3}, {3}},
    {{3, 0}, {3, 1}},
};

TEST(Reduction, SumToMatchesThePlainSum) {
    for (const Target& target : targets) {
        SCOPED_TRACE(target.from.str() + " to " + target.to.str());
        const Tensor x = random_tensor(target.from, 3, DType::f32);
        const Tensor expected = plain_sum_to(x, target.to).to(DType::f32);
        const Tensor y = sum_to(x, target.to);
        ASSERT_EQ(y.shape().str(), target.to.str());
        for (std::int64_t i = 0; i < y.numel(); ++i) {
            const float right = expected.data<float>()[i];
            ASSERT_NEAR(y.data<float>()[i], right, 2e-7 * std::max(1.0f, std::abs(right)));
        }
    }
}

TEST(Reduction, AxesAndShapes) {
    const Tensor x = Tensor::from({2, 3}, {1, 2, 3, 4, 5, 6});
    EXPECT_TRUE(same_bits(sum(x), Tensor::from({}, {21})));
    EXPECT_TRUE(same_bits(sum(x, {0}), Tensor::from({3}, {5, 7, 9})));
    EXPECT_TRUE(same_bits(sum(x, {-1}, true), Tensor::from({2, 1}, {6, 15})));
    EXPECT_TRUE(same_bits(sum(x, {1, 0}, true), Tensor::from({1, 1}, {21})));
    EXPECT_TRUE(same_bits(mean(x), Tensor::from({}, {3.5})));
    EXPECT_TRUE(same_bits(mean(x, {0}), Tensor::from({3}, {2.5, 3.5, 4.5})));
    EXPECT_TRUE(same_bits(mean(x, {1}), Tensor::from({2}, {2, 5})));
    EXPECT_TRUE(same_bits(sum(Tensor::zeros({0, 3}), {0}), Tensor::zeros({3})));
    EXPECT_TRUE(same_bits(mean(Tensor::from({1, 2}, {3, 4}), {0}), Tensor::from({2}, {3, 4})));
}

TEST(Reduction, HasStorageOfItsOwn) {
    Tensor x = Tensor::from({1, 3}, {4, 5, 6});  // nothing to add up along the first axis
    const Tensor total = sum(x, {0}), average = mean(x, {-2}, true), summed = sum_to(x, {3});
    x.fill_(0);
    EXPECT_TRUE(same_bits(total, Tensor::from({3}, {4, 5, 6})));
    EXPECT_TRUE(same_bits(average, Tensor::from({1, 3}, {4, 5, 6})));
    EXPECT_TRUE(same_bits(summed, Tensor::from({3}, {4, 5, 6})));
}

TEST(Reduction, SumOfFloatsIsAccurate) {
    const std::int64_t count = 3'000'000;
    const Tensor x = Tensor::full({count}, 0.1);
    const double exact = static_cast<double>(0.1f) * static_cast<double>(count);
    EXPECT_NEAR(sum(x).item(), exact, exact * 6e-8);
    EXPECT_FLOAT_EQ(static_cast<float>(mean(x).item()), 0.1f);
}

TEST(Reduction, SameBitsForAnyNumberOfThreads) {
    // In f64, where another order of adding shows; sums of f32 are taken in f64, which would hide it.
    const Tensor x = random_tensor({700, 1300}, 3, DType::f64);
    const test::Threads one(1);
    const Tensor columns = sum_to(x, {1300});
    const Tensor all = sum(x);
    for (const int threads : {2, 3, 5}) {
        const test::Threads several(threads);
        EXPECT_TRUE(same_bits(sum_to(x, {1300}), columns));
        EXPECT_TRUE(same_bits(sum(x), all));
    }
}

// A row's or column's sum depends on its values, not on where it lies.
TEST(Reduction, EqualColumnsGiveEqualSums) {
    const std::int64_t rows = 1000;
    const std::int64_t width = 523;
    Tensor x = Tensor::empty({rows, width});
    const Tensor column = random_tensor({rows}, 4, DType::f32);
    for (std::int64_t i = 0; i < rows * width; ++i) x.data<float>()[i] = column.data<float>()[i / width];
    const Tensor sums = sum(x, {0});
    for (std::int64_t j = 1; j < width; ++j) ASSERT_EQ(sums.data<float>()[j], sums.data<float>()[0]);
}

TEST(Reduction, TheEngineSumsBroadcastGradients) {
    Tensor bias = random_tensor({4}, 5, DType::f64).set_requires_grad();
    const Tensor x = random_tensor({2, 3, 4}, 3, DType::f64);
    const Tensor g = random_tensor({2, 3, 4}, 6, DType::f64);
    backward(mul(x, bias), {.gradient = g});
    const Tensor expected = sum(mul(x, g), {0, 1});
    EXPECT_TRUE(same_bits(bias.grad(), expected));
}

}  // namespace
}  // namespace headscope
