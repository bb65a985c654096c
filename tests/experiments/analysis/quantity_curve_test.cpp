// A quantity over the steps: what is made of a row, the row of a step, and the area.
#include "experiments/analysis/quantity_curve.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "experiments/base/errors.h"

namespace headscope::experiments {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();

QuantityCurve curve(const std::vector<std::int64_t>& steps, const std::vector<double>& values) {
    return {"title", "nat", steps, values, -infinity, infinity};
}

TEST(CurveArea, IsTheMeanOverTheSteps) {
    // Steps of unlike lengths: 10 of mean 2, 30 of mean 4.
    const CurveArea area = area_of(curve({0, 10, 40}, {1, 3, 5}), {}, {});
    EXPECT_NEAR(area.mean, (10 * 2 + 30 * 4) / 40.0, 1e-12);
    EXPECT_EQ(area.first, 0);
    EXPECT_EQ(area.last, 40);
    EXPECT_NEAR(area_of(curve({5, 6, 17, 100}, {7, 7, 7, 7}), {}, {}).mean, 7, 1e-12);
}

TEST(CurveArea, IsOfTheRowsOfAWindow) {
    const QuantityCurve all = curve({0, 10, 20, 40, 50}, {100, 1, 3, 5, 100});
    const CurveArea area = area_of(all, 1, 49);  // rows 10, 20, 40
    EXPECT_NEAR(area.mean, (10 * 2 + 20 * 4) / 30.0, 1e-12);
    EXPECT_EQ(area.first, 10);
    EXPECT_EQ(area.last, 40);
    EXPECT_NEAR(area_of(all, 10, 40).mean, area.mean, 1e-12) << "both ends are included";
    EXPECT_NEAR(area_of(all, 40, {}).mean, 52.5, 1e-12);
    EXPECT_NEAR(area_of(all, {}, 10).mean, 50.5, 1e-12);
}

TEST(CurveArea, GoesStraightOverRowsWithoutANumber) {
    const CurveArea area = area_of(curve({0, 10, 20, 30, 40}, {nan, 2, infinity, 6, nan}), {}, {});
    EXPECT_NEAR(area.mean, 4, 1e-12);
    EXPECT_EQ(area.first, 10);
    EXPECT_EQ(area.last, 30);
}

TEST(CurveArea, OfOneRowIsNone) {
    for (const QuantityCurve& one : {curve({}, {}), curve({3}, {5}), curve({3, 4}, {5, nan})})
        EXPECT_TRUE(std::isnan(area_of(one, {}, {}).mean));
    EXPECT_TRUE(std::isnan(area_of(curve({3, 4}, {5, 6}), 4, {}).mean));
}

TEST(RowAt, IsTheNewestUpToAStep) {
    EXPECT_EQ(row_at({0, 5, 10}, {}), 2u);
    EXPECT_EQ(row_at({0, 5, 10}, 9), 1u);
    EXPECT_EQ(row_at({0, 5, 10}, 5), 1u);
    EXPECT_EQ(row_at({3, 5, 10}, 2), std::nullopt);
    EXPECT_EQ(row_at({}, {}), std::nullopt);
}

TEST(CurveOfRole, CountsHeads) {
    Metric roles{.name = "role",
                 .units = "1",
                 .long_name = "role",
                 .steps = {0, 5, 10},
                 .dimensions = {"layer", "head"},
                 .shape = {2, 2},
                 .labels = {{}, {}},
                 .value_labels = {},
                 .values = {7, 7, 7, 7, 1, 7, 1, 1, 1, 3, 3, 0},
                 .minimum = 0,
                 .maximum = 8,
                 .null_mean = nan,
                 .null_std = nan};
    const QuantityCurve induction = curve_of_role(roles, "induction");
    EXPECT_EQ(induction.values, (std::vector<double>{0, 3, 1}));
    EXPECT_EQ(induction.steps, (std::vector<std::int64_t>{0, 5, 10}));
    EXPECT_EQ(induction.maximum, 4);
    EXPECT_TRUE(induction.is_count);
    roles.values[5] = 99;
    EXPECT_THROW(curve_of_role(roles, "induction"), IoError);
}

}  // namespace
}  // namespace headscope::experiments
