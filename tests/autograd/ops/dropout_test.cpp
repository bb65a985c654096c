#include "autograd/ops/dropout.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "autograd/graph.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using test::random_tensor;
using test::same_bits;

TEST(Dropout, KeepsAndScales) {
    const double p = 0.3;
    const RandomStream random(4, "dropout", 17);
    const Tensor x = random_tensor({101, 97}, 3, DType::f32);
    const Tensor y = dropout(x, p, random);
    std::int64_t dropped = 0;
    for (std::int64_t i = 0; i < x.numel(); ++i) {
        const bool kept = random.uniform(static_cast<std::uint64_t>(i)) >= p;
        ASSERT_EQ(y.data<float>()[i], kept ? x.data<float>()[i] / 0.7f : 0.0f);
        dropped += !kept;
    }
    const auto count = static_cast<double>(x.numel());
    EXPECT_NEAR(static_cast<double>(dropped), p * count, 5 * std::sqrt(p * (1 - p) * count));
}

TEST(Dropout, BackwardUsesTheSameMask) {
    const RandomStream random(4, "dropout", 17);
    Tensor x = random_tensor({11, 7}, 3, DType::f64).set_requires_grad();
    const Tensor g = random_tensor({11, 7}, 6, DType::f64);
    backward(dropout(x, 0.5, random), {.gradient = g});
    EXPECT_TRUE(same_bits(x.grad(), dropout(g, 0.5, random)));
}

TEST(Dropout, StepsDiffer) {
    const Tensor x = Tensor::full({200}, 1);
    EXPECT_FALSE(same_bits(dropout(x, 0.5, RandomStream(4, "d", 1)), dropout(x, 0.5, RandomStream(4, "d", 2))));
}

TEST(Dropout, ZeroIsTheInputItself) {
    const Tensor x = Tensor::full({3}, 1);
    EXPECT_EQ(dropout(x, 0, RandomStream(4, "d")).id(), x.id());
}

TEST(Dropout, SameBitsForAnyNumberOfThreads) {
    const Tensor x = random_tensor({30011}, 3, DType::f32);
    const RandomStream random(4, "dropout");
    const test::Threads one(1);
    const Tensor expected = dropout(x, 0.1, random);
    for (const int threads : {2, 3, 5}) {
        const test::Threads several(threads);
        EXPECT_TRUE(same_bits(dropout(x, 0.1, random), expected));
    }
}

TEST(Dropout, RefusesOtherProbabilities) {
    for (const double p : {-0.1, 1.0, 1.5, std::numeric_limits<double>::quiet_NaN()})
        EXPECT_THROW(dropout(Tensor::zeros({2}), p, RandomStream(1, "d")), Error);
}

}  // namespace
}  // namespace headscope
