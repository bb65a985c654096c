// What measured nulls are made of: random heads in fewer numbers than their matrices have, and the statistics of draws.
#include "experiments/probes/measured_null.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace headscope::experiments {
namespace {

/// |a - b| within four standard errors, and rounding where nothing varies.
void expect_same(const NullDistribution& a, const NullDistribution& b) {
    EXPECT_NEAR(a.mean, b.mean, 4 * std::hypot(a.mean_error, b.mean_error) + 1e-12);
    EXPECT_NEAR(a.std, b.std, 4 * std::hypot(a.std_error, b.std_error) + 1e-12);
}

/// sum of the squares of M^T M over the square of its trace: how far M's singular values differ.
double purity(const Matrix& M) { return multiply_tn(M, M).squaredNorm() / std::pow(M.squaredNorm(), 2); }

Matrix dense(const Bidiagonal& S) { return S.times(Matrix::Identity(S.diagonal.size(), S.diagonal.size())); }

TEST(RandomHeads, BidiagonalAndTriangleHaveTheSingularValuesOfNormalMatrices) {
    for (const auto& [d, k] : {std::pair{11, 4}, {4, 7}, {5, 5}, {3, 1}, {1, 3}}) {
        SCOPED_TRACE(testing::Message() << d << " x " << k);
        // Of the whole matrix, and of the largest singular value's share.
        for (const bool spread : {false, true}) {
            const auto value = [spread](const Matrix& M) {
                return spread && M.size() > 0 ? singular_values(M)(0) / M.norm() + purity(M) : M.squaredNorm();
            };
            const auto null = [&](auto&& matrix) {
                return null_of(draw_heads("x", [&](RandomHeads& random) { return value(matrix(random)); }));
            };
            const NullDistribution normal = null([&](RandomHeads& random) {
                random.normal(3, 3);  // so that the numbers are not those of the others
                return random.normal(d, k);
            });
            expect_same(null([&](RandomHeads& random) { return dense(random.bidiagonal(d, k)); }), normal);
            expect_same(null([&](RandomHeads& random) { return random.triangle(d, k); }), normal);
        }
    }
}

TEST(RandomHeads, NormOfAProductNeedsNoMatrix) {
    const Bidiagonal S{Eigen::Vector4d(2, -1, 0.5, 3), Eigen::Vector3d(0.7, 4, -1.5)};
    EXPECT_EQ(dense(S)(1, 2), 4);
    EXPECT_EQ(dense(S)(2, 1), 0);
    for (const Eigen::Index rows : {1, 2, 6})
        expect_same(
            null_of(draw_heads("product", [&](RandomHeads& r) { return r.squared_norm_of_product(S, rows); })),
            null_of(draw_heads("matrix", [&](RandomHeads& r) { return S.times(r.normal(4, rows)).squaredNorm(); })));
    RandomHeads random("none", 0);
    EXPECT_EQ(random.squared_norm_of_product(S, 0), 0);
}

TEST(MeasuredNull, HasTheSameDrawsForAnyNumberOfThreads) {
    const auto draws = [](int threads) {
        const ThreadLimit limit(threads);
        return draw_heads("threads", [](RandomHeads& random) { return random.triangle(9, 4).sum(); });
    };
    const std::vector<double> one = draws(1);
    EXPECT_EQ(one.size(), 1000u);
    EXPECT_NE(one[0], one[1]);
    for (const int threads : {2, 3, 8}) EXPECT_EQ(draws(threads), one);
}

TEST(MeasuredNull, StatesMeanAndStandardDeviationWithTheirErrors) {
    const NullDistribution null = null_of({1, 2, 4, 9});
    EXPECT_DOUBLE_EQ(null.mean, 4);
    EXPECT_DOUBLE_EQ(null.std, std::sqrt(38.0 / 3));
    EXPECT_EQ(null.draws, 4);
    EXPECT_DOUBLE_EQ(null.mean_error, null.std / 2);
    // sqrt((m4 - s^4) / n) / (2 s) with m4 = (81 + 16 + 0 + 625) / 4
    EXPECT_DOUBLE_EQ(null.std_error, std::sqrt((180.5 - std::pow(38.0 / 3, 2)) / 4) / (2 * null.std));

    const NullDistribution normal = null_of(draw_heads("normal", [](RandomHeads& r) { return r.normal(1, 1)(0); }));
    EXPECT_NEAR(normal.mean_error, 1 / std::sqrt(1000.0), 0.003);
    EXPECT_NEAR(normal.std_error, 1 / std::sqrt(2000.0), 0.003);
    const NullDistribution same = null_of({0.1, 0.1, 0.1});
    EXPECT_EQ(same.mean, 0.1);
    EXPECT_EQ(same.std, 0);
    EXPECT_EQ(same.std_error, 0);
}

TEST(MeasuredNull, IsMeasuredOncePerShape) {
    PerShape<int> known;
    int calls = 0;
    const auto get = [&](std::int64_t d, std::int64_t k) { return known.get(d, k, [&] { return ++calls; }); };
    EXPECT_EQ(get(4, 2), 1);
    EXPECT_EQ(get(2, 4), 2);
    EXPECT_EQ(get(4, 2), 1);
    EXPECT_EQ(calls, 2);
}

}  // namespace
}  // namespace headscope::experiments
