#include "autograd/ops/matmul.h"

#include <gtest/gtest.h>

#include <span>
#include <utility>
#include <vector>

#include "autograd/graph.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using test::difference;
using test::error_of;
using test::random_leaf;
using test::random_tensor;
using test::same_bits;
using test::Threads;

struct Case {
    Shape batch_a, batch_b, batch;
};

Shape with_matrix(const Shape& batch, std::int64_t rows, std::int64_t columns, bool transposed) {
    std::vector<std::int64_t> sizes(batch.begin(), batch.end());
    sizes.push_back(transposed ? columns : rows);
    sizes.push_back(transposed ? rows : columns);
    return Shape(std::span<const std::int64_t>(sizes));
}

/// Place of matrix `index` of the broadcast batch in an operand whose leading axes are `own`.
std::int64_t own_matrix(std::int64_t index, const Shape& own, const Shape& batch) {
    std::vector<std::int64_t> place(static_cast<std::size_t>(batch.rank()));
    for (int axis = batch.rank() - 1; axis >= 0; --axis) {
        place[static_cast<std::size_t>(axis)] = index % batch[axis];
        index /= batch[axis];
    }
    std::int64_t result = 0;
    for (int axis = 0; axis < own.rank(); ++axis) {
        const std::int64_t i = place[static_cast<std::size_t>(axis + batch.rank() - own.rank())];
        result = result * own[axis] + (own[axis] == 1 ? 0 : i);
    }
    return result;
}

void expect_as_loops(const Case& c, bool ta, bool tb, DType dtype, double tolerance) {
    constexpr std::int64_t m = 5, n = 7, k = 11;
    const Tensor a = random_leaf(with_matrix(c.batch_a, m, k, ta), 1, dtype);
    const Tensor b = random_leaf(with_matrix(c.batch_b, k, n, tb), 2, dtype);
    const Tensor result = matmul(a, b, ta, tb);
    ASSERT_EQ(result.shape(), with_matrix(c.batch, m, n, false));
    const Tensor g = random_tensor(result.shape(), 3, dtype);
    backward(result, {.gradient = g});

    const Tensor wide_a = a.to(DType::f64), wide_b = b.to(DType::f64), wide_g = g.to(DType::f64);
    Tensor expected = Tensor::zeros(result.shape(), DType::f64);
    Tensor da = Tensor::zeros(a.shape(), DType::f64), db = Tensor::zeros(b.shape(), DType::f64);
    for (std::int64_t batch = 0; batch < c.batch.numel(); ++batch)
        for (std::int64_t i = 0; i < m; ++i)
            for (std::int64_t j = 0; j < n; ++j)
                for (std::int64_t p = 0; p < k; ++p) {
                    const std::int64_t at_c = batch * m * n + i * n + j;
                    const std::int64_t at_a =
                        own_matrix(batch, c.batch_a, c.batch) * m * k + (ta ? p * m + i : i * k + p);
                    const std::int64_t at_b =
                        own_matrix(batch, c.batch_b, c.batch) * k * n + (tb ? j * k + p : p * n + j);
                    const double x = wide_a.data<double>()[at_a];
                    const double y = wide_b.data<double>()[at_b];
                    expected.data<double>()[at_c] += x * y;
                    da.data<double>()[at_a] += wide_g.data<double>()[at_c] * y;
                    db.data<double>()[at_b] += wide_g.data<double>()[at_c] * x;
                }
    EXPECT_LT(difference(result, expected), tolerance);
    EXPECT_LT(difference(a.grad(), da), tolerance);
    EXPECT_LT(difference(b.grad(), db), tolerance);
}

TEST(Matmul, IsTheProduct) {
    const std::vector<Case> cases{{{}, {}, {}},          {{2, 3}, {2, 3}, {2, 3}}, {{2, 3}, {}, {2, 3}},
                                  {{}, {2, 3}, {2, 3}},  {{2, 1}, {3}, {2, 3}},    {{4, 1, 3}, {2, 1}, {4, 2, 3}},
                                  {{2}, {1, 1}, {1, 2}}, {{1, 1}, {1}, {1, 1}},    {{0, 3}, {3}, {0, 3}}};
    for (const Case& c : cases)
        for (const bool ta : {false, true})
            for (const bool tb : {false, true}) {
                SCOPED_TRACE(c.batch_a.str() + " x " + c.batch_b.str() + (ta ? " ta" : "") + (tb ? " tb" : ""));
                expect_as_loops(c, ta, tb, DType::f64, 1e-13);
                expect_as_loops(c, ta, tb, DType::f32, 2e-6);
            }
}

TEST(Matmul, NoTermsGiveZero) {
    const Tensor a = random_leaf({2, 3, 0}, 1);
    const Tensor b = random_leaf({0, 4}, 2);
    const Tensor c = matmul(a, b);
    EXPECT_TRUE(same_bits(c, Tensor::zeros({2, 3, 4})));
    backward(c, {.gradient = random_tensor({2, 3, 4}, 3)});
    EXPECT_EQ(a.grad().shape(), a.shape());
    EXPECT_EQ(b.grad().shape(), b.shape());
}

TEST(Matmul, SameBitsForAnyNumberOfThreads) {
    const auto run = [](int count, const Shape& sa, const Shape& sb) {
        const Threads threads(count);
        const Tensor a = random_leaf(sa, 1);
        const Tensor b = random_leaf(sb, 2);
        const Tensor c = matmul(a, b);
        backward(c, {.gradient = random_tensor(c.shape(), 3)});
        return std::vector<Tensor>{c, a.grad(), b.grad()};
    };
    for (const auto& [sa, sb] : {std::pair<Shape, Shape>{{131, 97}, {97, 143}},
                                 {{2, 3, 37, 41}, {2, 3, 41, 29}},
                                 {{5, 37, 41}, {41, 29}},
                                 {{41, 37}, {3, 37, 90}}}) {
        const std::vector<Tensor> expected = run(1, sa, sb);
        for (const int count : {2, 3, 5}) {
            const std::vector<Tensor> results = run(count, sa, sb);
            for (std::size_t i = 0; i < results.size(); ++i) EXPECT_TRUE(same_bits(results[i], expected[i])) << i;
        }
    }
}

TEST(Matmul, MisfitsAreExplained) {
    const auto error = [](const Shape& a, const Shape& b, bool ta, bool tb) {
        return error_of([&] { matmul(random_tensor(a, 1), random_tensor(b, 2), ta, tb); });
    };
    EXPECT_EQ(error({2, 3}, {4, 5}, false, false), "matmul: the inner sizes differ; a is [2, 3], b is [4, 5]");
    EXPECT_EQ(error({3, 2}, {4, 5}, true, true),
              "matmul: the inner sizes differ; a is [3, 2] transposed, b is [4, 5] transposed");
    EXPECT_EQ(error({3}, {3, 5}, false, false), "matmul: both need two axes at least; a is [3], b is [3, 5]");
    EXPECT_EQ(error({2, 2, 3}, {4, 3, 5}, false, false),
              "matmul: the leading axes do not broadcast; a is [2, 2, 3], b is [4, 3, 5]");
    EXPECT_EQ(error_of([] {
                  matmul(random_tensor({2, 3}, 1), random_tensor({3, 4}, 2, DType::f64));
              }),
              "matmul: the dtypes differ; a is [2, 3], b is [3, 4]");
    EXPECT_EQ(error_of([] {
                  matmul(Tensor::zeros({2, 3}, DType::i64), Tensor::zeros({3, 4}, DType::i64));
              }),
              "matmul: needs float32 or float64 values, not int64");
}

}  // namespace
}  // namespace headscope
