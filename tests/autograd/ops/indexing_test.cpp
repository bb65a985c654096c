#include "autograd/ops/indexing.h"

#include <gtest/gtest.h>

#include "autograd/graph.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using test::random_leaf;
using test::random_tensor;
using test::same_bits;

TEST(Slice, PartsOfAnAxis) {
    const Tensor x = Tensor::from({2, 5}, {0, 1, 2, 3, 4, 10, 11, 12, 13, 14}, DType::i64);
    EXPECT_TRUE(same_bits(slice(x, 1, 1, 4), Tensor::from({2, 3}, {1, 2, 3, 11, 12, 13}, DType::i64)));
    EXPECT_TRUE(same_bits(slice(x, -1, -4, -1, 2), Tensor::from({2, 2}, {1, 3, 11, 13}, DType::i64)));
    EXPECT_TRUE(same_bits(slice(x, 1, 0, 5, 3), Tensor::from({2, 2}, {0, 3, 10, 13}, DType::i64)));
    EXPECT_TRUE(same_bits(slice(x, 0, 1, 2), Tensor::from({1, 5}, {10, 11, 12, 13, 14}, DType::i64)));
    EXPECT_TRUE(same_bits(slice(x, 0, 0, 2), x));
    EXPECT_EQ(slice(x, 1, 5, 5).shape().str(), "[2, 0]");
    const Tensor mask = Tensor::from({4}, {1, 0, 0, 1}, DType::boolean);
    EXPECT_TRUE(same_bits(slice(mask, 0, 2, 4), Tensor::from({2}, {0, 1}, DType::boolean)));
}

TEST(Slice, GradientGoesBackToItsPlace) {
    Tensor x = random_leaf({2, 5}, 1);
    backward(slice(x, 1, 1, 5, 2), {.gradient = Tensor::from({2, 2}, {3, 4, 5, 6})});
    EXPECT_TRUE(same_bits(x.grad(), Tensor::from({2, 5}, {0, 3, 0, 4, 0, 0, 5, 0, 6, 0})));
}

TEST(Concat, UndoesSlices) {
    const Tensor x = random_tensor({2, 5, 3}, 1);
    for (int axis = -3; axis < 3; ++axis) {
        const std::int64_t size = x.size(axis);
        EXPECT_TRUE(same_bits(concat({slice(x, axis, 0, 1), slice(x, axis, 1, 1), slice(x, axis, 1, size)}, axis), x));
    }
    const Tensor tokens = Tensor::from({3}, {4, 5, 6}, DType::i64);
    EXPECT_TRUE(same_bits(concat({tokens, tokens}, 0), Tensor::from({6}, {4, 5, 6, 4, 5, 6}, DType::i64)));
}

TEST(Concat, EachGetsItsPartOfTheGradient) {
    Tensor a = random_leaf({2, 1}, 1);
    const Tensor fixed = random_tensor({2, 2}, 2);
    Tensor b = random_leaf({2, 2}, 3);
    const Tensor g = Tensor::from({2, 6}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
    backward(concat({a, fixed, b, a}, 1), {.gradient = g});
    EXPECT_TRUE(same_bits(a.grad(), Tensor::from({2, 1}, {1 + 6, 7 + 12})));
    EXPECT_TRUE(same_bits(b.grad(), Tensor::from({2, 2}, {4, 5, 10, 11})));
}

TEST(Stack, NewAxis) {
    const Tensor a = Tensor::from({3}, {1, 2, 3});
    const Tensor b = Tensor::from({3}, {4, 5, 6});
    EXPECT_TRUE(same_bits(stack({a, b}, 0), Tensor::from({2, 3}, {1, 2, 3, 4, 5, 6})));
    EXPECT_TRUE(same_bits(stack({a, b}, 1), Tensor::from({3, 2}, {1, 4, 2, 5, 3, 6})));
    EXPECT_TRUE(same_bits(stack({a, b}, -1), stack({a, b}, 1)));
    EXPECT_TRUE(same_bits(stack({Tensor::full({}, 7)}, 0), Tensor::from({1}, {7})));
}

TEST(Gather, TakesAndAddsBack) {
    Tensor x = Tensor::from({2, 3}, {1, 2, 3, 4, 5, 6}).set_requires_grad();
    const Tensor index = Tensor::from({2, 4}, {2, 0, 2, 2, 1, 1, 0, 1}, DType::i64);
    const Tensor y = gather(x, 1, index);
    EXPECT_TRUE(same_bits(y, Tensor::from({2, 4}, {3, 1, 3, 3, 5, 5, 4, 5})));
    backward(y, {.gradient = Tensor::from({2, 4}, {1, 2, 3, 4, 5, 6, 7, 8})});
    EXPECT_TRUE(same_bits(x.grad(), Tensor::from({2, 3}, {2, 0, 8, 7, 19, 0})));
}

TEST(Gather, IndexMayBeSmallerAlongOtherAxes) {
    const Tensor x = Tensor::from({3, 2}, {1, 2, 3, 4, 5, 6}, DType::i64);
    EXPECT_TRUE(
        same_bits(gather(x, 0, Tensor::from({2, 1}, {2, 1}, DType::i64)), Tensor::from({2, 1}, {5, 3}, DType::i64)));
    EXPECT_EQ(gather(x, 0, Tensor::zeros({0, 2}, DType::i64)).shape().str(), "[0, 2]");
}

TEST(Gather, NothingGathered) {
    Tensor x = random_leaf({3, 2}, 1);
    const Tensor y = gather(x, 0, Tensor::zeros({0, 2}, DType::i64));
    backward(y, {.gradient = Tensor::zeros({0, 2})});
    EXPECT_TRUE(same_bits(x.grad(), Tensor::zeros({3, 2})));
}

}  // namespace
}  // namespace headscope
