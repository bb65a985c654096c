#include "autograd/ops/cross_entropy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "autograd/graph.h"
#include "autograd/random.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

Tensor random_tensor(const Shape& shape, DType dtype, double spread) {
    Tensor x = Tensor::empty(shape, DType::f64);
    const RandomStream random(15, "logits");
    for (std::int64_t i = 0; i < x.numel(); ++i)
        x.data<double>()[i] = spread * random.normal(static_cast<std::uint64_t>(i));
    return x.to(dtype);
}

/// Targets in [-1, classes), about one in five not scored.
Tensor random_targets(const Shape& shape, std::int64_t classes) {
    Tensor targets = Tensor::empty(shape, DType::i64);
    const RandomStream random(16, "targets");
    for (std::int64_t i = 0; i < targets.numel(); ++i) {
        const auto index = static_cast<std::uint64_t>(2 * i);
        const auto target = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(classes), index));
        targets.data<std::int64_t>()[i] = random.uniform(index + 1) < 0.2 ? -1 : target;
    }
    return targets;
}

TEST(CrossEntropy, LossAndGradientFollowTheDefinition) {
    for (const DType dtype : {DType::f32, DType::f64}) {
        const double tolerance = dtype == DType::f32 ? 1e-6 : 1e-14;
        for (const std::int64_t classes : {1, 3, 16, 65, 1031}) {
            Tensor logits = random_tensor({2, 5, classes}, dtype, 3);
            const Tensor targets = random_targets({2, 5}, classes);
            logits.set_requires_grad();
            const Tensor loss = cross_entropy(logits, targets);
            const double upstream = 1.75;
            backward(loss, {.gradient = Tensor::full({}, upstream, dtype)});
            const Tensor each = cross_entropy_each(logits, targets);
            ASSERT_EQ(each.dtype(), DType::f64);
            ASSERT_EQ(each.shape(), targets.shape());
            EXPECT_EQ(loss.dtype(), dtype);

            const Tensor x = logits.to(DType::f64);
            const Tensor dx = logits.grad().to(DType::f64);
            double sum = 0;
            const auto scored = std::ranges::count_if(targets.values<std::int64_t>(), [](auto t) { return t >= 0; });
            for (std::size_t row = 0; row < 10; ++row) {
                const auto row_logits = x.values<double>().subspan(row * static_cast<std::size_t>(classes),
                                                                   static_cast<std::size_t>(classes));
                const std::int64_t target = targets.values<std::int64_t>()[row];
                double total = 0;
                for (const double v : row_logits) total += std::exp(v);
                const double expected = target < 0 ? 0 : std::log(total) - row_logits[static_cast<std::size_t>(target)];
                EXPECT_NEAR(each.values<double>()[row], expected, 10 * tolerance);
                sum += expected;
                for (std::size_t i = 0; i < row_logits.size(); ++i) {
                    const double hit = static_cast<std::int64_t>(i) == target ? 1 : 0;
                    const double gradient =
                        upstream * (std::exp(row_logits[i]) / total - hit) / static_cast<double>(scored);
                    ASSERT_NEAR(dx.values<double>()[row * row_logits.size() + i], target < 0 ? 0 : gradient, tolerance);
                }
            }
            EXPECT_NEAR(loss.item(), sum / static_cast<double>(scored), 10 * tolerance);
        }
    }
}

TEST(CrossEntropy, NothingScoredGivesZero) {
    Tensor logits = random_tensor({2, 3, 7}, DType::f32, 1);
    logits.set_requires_grad();
    const Tensor loss = cross_entropy(logits, Tensor::full({2, 3}, -1, DType::i64));
    backward(loss);
    EXPECT_EQ(loss.item(), 0);
    for (const float d : logits.grad().values<float>()) EXPECT_EQ(d, 0);
}

TEST(CrossEntropy, LargeLogitsKeepTheirDigits) {
    // Shifting all logits changes nothing. 2^20 leaves float four digits after the point, which these values need not.
    const Tensor near_zero = Tensor::from({1, 4}, {0.5, -1, 2, 0.25});
    const Tensor shifted = Tensor::from({1, 4}, {1048576.5, 1048575, 1048578, 1048576.25});
    const Tensor target = Tensor::from({1}, {1}, DType::i64);
    EXPECT_EQ(cross_entropy(near_zero, target).item(), cross_entropy(shifted, target).item());
    const Tensor huge = Tensor::from({1, 2}, {3e38, -3e38});
    EXPECT_EQ(cross_entropy(huge, Tensor::zeros({1}, DType::i64)).item(), 0);
}

TEST(CrossEntropy, ScalarTargetAndNoRowsAtAll) {
    EXPECT_NEAR(cross_entropy(Tensor::zeros({4}, DType::f64), Tensor::zeros({}, DType::i64)).item(), std::log(4),
                1e-15);
    EXPECT_EQ(cross_entropy(Tensor::zeros({0, 4}), Tensor::zeros({0}, DType::i64)).item(), 0);
}

TEST(CrossEntropy, SameBitsForAnyNumberOfThreads) {
    std::vector<float> expected;
    for (const int threads : {1, 2, 3, 5}) {
        const test::Threads limit(threads);
        Tensor logits = random_tensor({7, 43, 65}, DType::f32, 2);
        logits.set_requires_grad();
        const Tensor loss = cross_entropy(logits, random_targets({7, 43}, 65));
        backward(loss);
        std::vector<float> got(logits.grad().values<float>().begin(), logits.grad().values<float>().end());
        got.push_back(loss.values<float>()[0]);
        if (threads == 1) expected = got;
        EXPECT_EQ(got, expected) << threads << " threads";
    }
}

TEST(CrossEntropy, NamesWhatIsWrong) {
    const Tensor logits = Tensor::zeros({2, 3, 7});
    EXPECT_THROW(cross_entropy(logits, Tensor::zeros({2, 3})), Error);
    EXPECT_THROW(cross_entropy(logits, Tensor::zeros({3, 2}, DType::i64)), Error);
    EXPECT_THROW(cross_entropy(logits, Tensor::full({2, 3}, -2, DType::i64)), Error);
    EXPECT_THROW(cross_entropy(Tensor::zeros({2, 0}), Tensor::zeros({2}, DType::i64)), Error);
    EXPECT_THROW(cross_entropy(Tensor::zeros({2, 3}, DType::i64), Tensor::zeros({2}, DType::i64)), Error);
    Tensor targets = Tensor::zeros({2, 3}, DType::i64);
    targets.data<std::int64_t>()[5] = 7;
    for (const auto op : {cross_entropy, cross_entropy_each}) {
        EXPECT_EQ(test::error_of([&] { op(logits, targets); }),
                  "cross_entropy: target 7 at [1, 2] (row 5) is outside [-1, 7); logits are [2, 3, 7], targets "
                  "are [2, 3]");
    }
}

}  // namespace
}  // namespace headscope
