#include "autograd/ops/softmax.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "autograd/graph.h"
#include "autograd/ops/shaping.h"
#include "autograd/random.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

Tensor random_tensor(const Shape& shape, DType dtype, const char* stream, double spread = 1) {
    Tensor x = Tensor::empty(shape, DType::f64);
    const RandomStream random(12, stream);
    for (std::int64_t i = 0; i < x.numel(); ++i)
        x.data<double>()[i] = spread * random.normal(static_cast<std::uint64_t>(i));
    return x.to(dtype);
}

Tensor random_mask(const Shape& shape) {
    std::vector<std::uint8_t> seen;
    const RandomStream random(13, "mask");
    for (std::int64_t i = 0; i < shape.numel(); ++i)
        seen.push_back(random.uniform(static_cast<std::uint64_t>(i)) < 0.6 ? 1 : 0);
    return Tensor::from<std::uint8_t>(shape, seen);
}

/// Weights and gradient by the definition, row by row in f64; `seen` says which elements count.
struct Reference {
    std::vector<double> y;
    std::vector<double> dx;
};
template <class Seen>
Reference reference(const Tensor& x, const Tensor& dy, Seen seen) {
    const std::int64_t n = x.size(-1);
    Reference result{std::vector<double>(static_cast<std::size_t>(x.numel())),
                     std::vector<double>(static_cast<std::size_t>(x.numel()))};
    for (std::int64_t row = 0; row < x.numel() / n; ++row) {
        double total = 0;
        for (std::int64_t i = 0; i < n; ++i)
            if (seen(row, i)) total += std::exp(x.values<double>()[static_cast<std::size_t>(row * n + i)]);
        double mean = 0;
        for (std::int64_t i = 0; i < n; ++i) {
            const auto at = static_cast<std::size_t>(row * n + i);
            result.y[at] = seen(row, i) ? std::exp(x.values<double>()[at]) / total : 0;
            mean += result.y[at] * dy.values<double>()[at];
        }
        for (std::int64_t i = 0; i < n; ++i) {
            const auto at = static_cast<std::size_t>(row * n + i);
            result.dx[at] = result.y[at] * (dy.values<double>()[at] - mean);
        }
    }
    return result;
}

void expect_near(const Tensor& got, const std::vector<double>& expected, double tolerance) {
    const Tensor values = got.to(DType::f64);
    for (std::size_t i = 0; i < expected.size(); ++i)
        ASSERT_NEAR(values.values<double>()[i], expected[i], tolerance) << "element " << i;
}

TEST(Softmax, ValueAndGradientFollowTheDefinition) {
    for (const DType dtype : {DType::f32, DType::f64}) {
        const double tolerance = dtype == DType::f32 ? 1e-6 : 1e-14;
        for (const std::int64_t n : {1, 7, 16, 53}) {
            Tensor x = random_tensor({2, 3, n}, dtype, "x", 2);
            const Tensor dy = random_tensor({2, 3, n}, dtype, "dy");
            x.set_requires_grad();
            const Tensor y = softmax(x);
            backward(y, {.gradient = dy});
            const Reference expected =
                reference(x.to(DType::f64), dy.to(DType::f64), [](std::int64_t, std::int64_t) { return true; });
            expect_near(y, expected.y, tolerance);
            expect_near(x.grad(), expected.dx, tolerance);
        }
    }
}

TEST(Softmax, LargeValuesDoNotOverflow) {
    const Tensor y = softmax(Tensor::from({2, 3}, {1e4, 1e4, -1e4, 3e38, 0, -3e38}));
    EXPECT_EQ(y.at({0, 0}), 0.5);
    EXPECT_EQ(y.at({0, 1}), 0.5);
    EXPECT_EQ(y.at({0, 2}), 0);
    EXPECT_EQ(y.at({1, 0}), 1);
}

TEST(Softmax, EqualRowsGiveEqualBitsAnywhere) {
    const Tensor row = random_tensor({13}, DType::f32, "x");
    std::vector<float> rows;
    for (int copy = 0; copy < 9; ++copy)
        rows.insert(rows.end(), row.values<float>().begin(), row.values<float>().end());
    const Tensor y = softmax(Tensor::from<float>({9, 13}, rows));
    for (std::size_t i = 0; i < 9 * 13; ++i) EXPECT_EQ(y.values<float>()[i], y.values<float>()[i % 13]);
}

TEST(Softmax, NamesWhatIsWrong) {
    EXPECT_THROW(softmax(Tensor::zeros({})), Error);
    EXPECT_THROW(softmax(Tensor::zeros({3, 0})), Error);
    EXPECT_THROW(softmax(Tensor::zeros({3, 2}, DType::i64)), Error);
}

TEST(MaskedSoftmax, BroadcastsTheMask) {
    const std::int64_t batch = 2, heads = 3, queries = 5, keys = 7;
    for (const Shape& shape : {Shape{2, 3, 5, 7}, Shape{2, 1, 5, 7}, Shape{1, 3, 1, 7}, Shape{5, 7}, Shape{7},
                               Shape{2, 3, 5, 1}, Shape{3, 1, 1}, Shape{}}) {
        const Tensor mask = random_mask(shape);
        const Shape full{batch, heads, queries, keys};
        const auto seen = [&](std::int64_t row, std::int64_t key) {
            const std::int64_t place[] = {row / queries / heads, row / queries % heads, row % queries, key};
            std::int64_t flat = 0;
            for (int axis = 0; axis < shape.rank(); ++axis) {
                const std::int64_t index = place[4 - shape.rank() + axis];
                flat = flat * shape[axis] + (shape[axis] == 1 ? 0 : index);
            }
            return mask.values<std::uint8_t>()[static_cast<std::size_t>(flat)] != 0;
        };
        for (const DType dtype : {DType::f32, DType::f64}) {
            Tensor x = random_tensor(full, dtype, "x");
            const Tensor dy = random_tensor(full, dtype, "dy");
            x.set_requires_grad();
            const Tensor y = masked_softmax(x, mask);
            backward(y, {.gradient = dy});
            const Reference expected = reference(x.to(DType::f64), dy.to(DType::f64), seen);
            const double tolerance = dtype == DType::f32 ? 1e-6 : 1e-14;
            expect_near(y, expected.y, tolerance);
            expect_near(x.grad(), expected.dx, tolerance);
        }
    }
}

TEST(MaskedSoftmax, HiddenValuesDoNotMatter) {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    constexpr double infinity = std::numeric_limits<double>::infinity();
    Tensor x = Tensor::from({2, 4}, {nan, 1, infinity, 1, nan, infinity, -infinity, 5});
    x.set_requires_grad();
    const Tensor visible = Tensor::from({2, 4}, {0, 1, 0, 1, 0, 0, 0, 0}, DType::boolean);
    const Tensor y = masked_softmax(x, visible);
    backward(y, {.gradient = Tensor::from({2, 4}, {3, 1, -2, 2, 9, 8, 7, 6})});
    const std::vector<float> weights{0, .5F, 0, .5F, 0, 0, 0, 0};
    const std::vector<float> gradients{0, -.25F, 0, .25F, 0, 0, 0, 0};
    for (std::size_t i = 0; i < weights.size(); ++i) {
        EXPECT_EQ(y.values<float>()[i], weights[i]);
        EXPECT_EQ(x.grad().values<float>()[i], gradients[i]);
    }
}

TEST(MaskedSoftmax, VisibleMinusInfinityIsNotHidden) {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    const Tensor x = Tensor::from({2, 3}, {-infinity, -infinity, 2, -infinity, 4, 4});
    const Tensor y = masked_softmax(x, Tensor::from({2, 3}, {1, 1, 0, 1, 1, 1}, DType::boolean));
    EXPECT_TRUE(std::isnan(y.at({0, 0})));  // as softmax() of the visible ones, and as in PyTorch
    EXPECT_EQ(y.at({1, 0}), 0);
    EXPECT_EQ(y.at({1, 1}), 0.5);
}

TEST(MaskedSoftmax, VisibleNaNIsNotLost) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const Tensor y = masked_softmax(Tensor::from({3}, {nan, 1, 2}), Tensor::from({3}, {1, 0, 0}, DType::boolean));
    EXPECT_TRUE(std::isnan(y.at({0})));
}

TEST(MaskedSoftmax, SameBitsForAnyNumberOfThreads) {
    std::vector<float> expected;
    for (const int threads : {1, 2, 3, 5}) {
        const test::Threads limit(threads);
        Tensor x = random_tensor({3, 4, 31, 101}, DType::f32, "x");
        x.set_requires_grad();
        const Tensor y = masked_softmax(x, random_mask({31, 101}));
        backward(y, {.gradient = random_tensor(x.shape(), DType::f32, "dy")});
        std::vector<float> got(y.values<float>().begin(), y.values<float>().end());
        got.insert(got.end(), x.grad().values<float>().begin(), x.grad().values<float>().end());
        if (threads == 1) expected = got;
        EXPECT_EQ(got, expected) << threads << " threads";
    }
}

TEST(MaskedSoftmax, NamesWhatIsWrong) {
    const Tensor x = Tensor::zeros({2, 5});
    EXPECT_THROW(masked_softmax(x, Tensor::zeros({2, 5})), Error);
    EXPECT_EQ(test::error_of([&] {
                  masked_softmax(x, Tensor::zeros({2, 4}, DType::boolean));
              }),
              "masked_softmax: visible does not broadcast to x; x is [2, 5], visible is [2, 4]");
}

TEST(Softmax, AnyAxis) {
    const Tensor x = random_tensor({2, 3, 5}, DType::f64, "axes");
    for (int axis = -3; axis < 3; ++axis) {
        const int along = axis < 0 ? axis + 3 : axis;
        std::vector<int> order{0, 1, 2};
        std::swap(order[2], order[static_cast<std::size_t>(along)]);
        const Tensor expected = permute(softmax(permute(x, order)), order);
        EXPECT_EQ(test::difference(softmax(x, axis), expected), 0);
        const Tensor logs = log_softmax(x, axis);
        for (std::size_t i = 0; i < 30; ++i)
            EXPECT_NEAR(logs.values<double>()[i], std::log(expected.values<double>()[i]), 1e-14);
    }
}

TEST(LogSoftmax, SmallWeightsKeepTheirDigits) {
    const Tensor y = log_softmax(Tensor::from({2, 2}, {0, 200, 1e6, 1e6 + 1}));
    EXPECT_EQ(y.at({0, 0}), -200);
    EXPECT_EQ(y.at({0, 1}), 0);
    EXPECT_NEAR(y.at({1, 0}), -std::log1p(std::exp(1)), 1e-6);
    EXPECT_NEAR(y.at({1, 1}), -std::log1p(std::exp(-1)), 1e-6);
    const Tensor hidden = log_softmax(Tensor::from({2}, {-std::numeric_limits<double>::infinity(), 3}));
    EXPECT_EQ(hidden.at({0}), -std::numeric_limits<double>::infinity());
    EXPECT_EQ(hidden.at({1}), 0);
}

}  // namespace
}  // namespace headscope
