#include "autograd/ops/shaping.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using test::random_tensor;
using test::same_bits;

// 0, 1, 2, ...
Tensor counting(const Shape& shape, DType dtype) {
    Tensor x = Tensor::empty(shape, DType::i64);
    std::iota(x.data<std::int64_t>(), x.data<std::int64_t>() + x.numel(), 0);
    return x.to(dtype);
}

TEST(Reshape, SharesStorage) {
    Tensor x = counting({2, 3, 4}, DType::f32);
    const Tensor y = reshape(x, {4, -1});
    EXPECT_EQ(y.shape().str(), "[4, 6]");
    EXPECT_EQ(y.bytes(), x.bytes());
    x.fill_(7);
    EXPECT_EQ(y.at({3, 5}), 7);
    EXPECT_EQ(reshape(Tensor::zeros({1}), {}).rank(), 0);
    EXPECT_EQ(reshape(Tensor::zeros({0, 3}), {3, 0}).shape().str(), "[3, 0]");
}

TEST(Permute, MovesEveryElement) {
    for (const DType dtype : {DType::f32, DType::f64, DType::i64}) {
        const Tensor x = counting({2, 3, 4, 5}, dtype);
        const Tensor y = permute(x, {2, 0, 3, 1});
        ASSERT_EQ(y.shape().str(), "[4, 2, 5, 3]");
        for (std::int64_t a = 0; a < 2; ++a)
            for (std::int64_t b = 0; b < 3; ++b)
                for (std::int64_t c = 0; c < 4; ++c)
                    for (std::int64_t d = 0; d < 5; ++d) ASSERT_EQ(y.at({c, a, d, b}), x.at({a, b, c, d}));
    }
}

TEST(Permute, ManyChunks) {
    const Tensor x = counting({37, 1501}, DType::i64);
    const Tensor y = permute(x, {1, 0});
    for (std::int64_t i = 0; i < x.numel(); ++i)
        ASSERT_EQ(y.data<std::int64_t>()[i % 1501 * 37 + i / 1501], x.data<std::int64_t>()[i]);
    EXPECT_TRUE(same_bits(permute(y, {1, 0}), x));
}

TEST(Permute, SizeOneAxesAndNothing) {
    const Tensor x = counting({1, 3, 1, 2}, DType::i64);
    EXPECT_TRUE(same_bits(permute(x, {2, 1, 3, 0}), reshape(x, {1, 3, 2, 1})));
    EXPECT_EQ(permute(Tensor::zeros({2, 0, 3}), {2, 1, 0}).shape().str(), "[3, 0, 2]");
    EXPECT_EQ(permute(Tensor::full({}, 4), {}).item(), 4);
}

TEST(BroadcastTo, Stretches) {
    const Tensor x = Tensor::from({2, 1}, {1, 0}, DType::boolean);
    EXPECT_TRUE(same_bits(broadcast_to(x, {2, 2, 3}),
                          Tensor::from({2, 2, 3}, {1, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0}, DType::boolean)));
    EXPECT_TRUE(
        same_bits(broadcast_to(Tensor::from({3}, {1, 2, 3}), {2, 3}), Tensor::from({2, 3}, {1, 2, 3, 1, 2, 3})));
    EXPECT_TRUE(same_bits(broadcast_to(Tensor::full({}, 5), {20000}), Tensor::full({20000}, 5)));
}

}  // namespace
}  // namespace headscope
