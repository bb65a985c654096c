#include "autograd/ops/embedding.h"

#include <gtest/gtest.h>

#include "autograd/graph.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using test::random_tensor;
using test::same_bits;

Tensor random_tokens(const Shape& shape, std::uint64_t rows) {
    const RandomStream random(9, "tokens");
    Tensor tokens = Tensor::empty(shape, DType::i64);
    for (std::int64_t i = 0; i < tokens.numel(); ++i)
        tokens.data<std::int64_t>()[i] = static_cast<std::int64_t>(random.below(rows, static_cast<std::uint64_t>(i)));
    return tokens;
}

TEST(Embedding, TakesRows) {
    const Tensor weight = random_tensor({5, 3}, 7, DType::f32);
    const Tensor tokens = Tensor::from({2, 2}, {4, 0, 4, 1}, DType::i64);
    const Tensor y = embedding(weight, tokens);
    ASSERT_EQ(y.shape().str(), "[2, 2, 3]");
    for (std::int64_t i = 0; i < 2; ++i)
        for (std::int64_t j = 0; j < 2; ++j)
            for (std::int64_t k = 0; k < 3; ++k)
                EXPECT_EQ(y.at({i, j, k}), weight.at({static_cast<std::int64_t>(tokens.at({i, j})), k}));
}

TEST(Embedding, GradientAddsRowsOfEqualTokens) {
    Tensor weight = random_tensor({5, 3}, 7, DType::f64).set_requires_grad();
    const Tensor g = random_tensor({2, 2, 3}, 6, DType::f64);
    backward(embedding(weight, Tensor::from({2, 2}, {4, 0, 4, 1}, DType::i64)), {.gradient = g});
    for (std::int64_t k = 0; k < 3; ++k) {
        EXPECT_EQ(weight.grad().at({0, k}), g.at({0, 1, k}));
        EXPECT_EQ(weight.grad().at({1, k}), g.at({1, 1, k}));
        EXPECT_EQ(weight.grad().at({2, k}), 0);
        EXPECT_EQ(weight.grad().at({3, k}), 0);
        EXPECT_EQ(weight.grad().at({4, k}), g.at({0, 0, k}) + g.at({1, 0, k}));
    }
}

TEST(Embedding, GradientHasTheSameBitsForAnyNumberOfThreads) {
    const Tensor tokens = random_tokens({8, 131}, 37);
    const Tensor g = random_tensor({8, 131, 601}, 6, DType::f64);
    Tensor expected;
    for (const int threads : {1, 2, 3, 5}) {
        const test::Threads several(threads);
        Tensor weight = random_tensor({37, 601}, 7, DType::f64).set_requires_grad();
        backward(embedding(weight, tokens), {.gradient = g});
        if (threads == 1) expected = weight.grad();
        EXPECT_TRUE(same_bits(weight.grad(), expected));
    }
    Tensor plain = Tensor::zeros({37, 601}, DType::f64);
    for (std::int64_t i = 0; i < g.numel(); ++i)
        plain.data<double>()[tokens.data<std::int64_t>()[i / 601] * 601 + i % 601] += g.data<double>()[i];
    EXPECT_TRUE(same_bits(plain, expected));
}

TEST(Embedding, NoTokensGiveNoGradient) {
    Tensor weight = random_tensor({5, 3}, 7, DType::f64).set_requires_grad();
    const Tensor y = embedding(weight, Tensor::zeros({0}, DType::i64));
    EXPECT_EQ(y.shape().str(), "[0, 3]");
    backward(y, {.gradient = Tensor::zeros({0, 3}, DType::f64)});
    EXPECT_TRUE(same_bits(weight.grad(), Tensor::zeros({5, 3}, DType::f64)));
}

}  // namespace
}  // namespace headscope
