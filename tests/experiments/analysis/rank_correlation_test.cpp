#include "experiments/analysis/rank_correlation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "autograd/error.h"

namespace headscope::experiments {
namespace {

using Values = std::vector<double>;

TEST(RankCorrelation, ByHand) {
    EXPECT_DOUBLE_EQ(rank_correlation(Values{1, 2, 3, 4}, Values{-7, 0, 1e9, 1e10}), 1);
    EXPECT_DOUBLE_EQ(rank_correlation(Values{3, 1, 2}, Values{-3, 5, 0}), -1);
    // Ranks 1 2 3 4 5 and 2 1 4 3 5: 1 - 6 * (1 + 1 + 1 + 1) / (5 * 24)
    EXPECT_DOUBLE_EQ(rank_correlation(Values{10, 20, 30, 40, 50}, Values{2, 1, 8, 5, 9}), 0.8);
}

TEST(RankCorrelation, EqualValuesShareTheMeanOfTheirRanks) {
    // Ranks 1 2.5 2.5 4 and 1.5 1.5 3 4, about 2.5: (1.5 + 0 + 0 + 2.25) / sqrt(4.5 * 4.5)
    EXPECT_DOUBLE_EQ(rank_correlation(Values{1, 5, 5, 7}, Values{0, 0, 3, 9}), 3.75 / 4.5);
    // Ranks 2 2 2 4 and 1 2 3 4: 4.5 / ... = (-.5 * -1.5 + -.5 * -.5 + -.5 * .5 + 1.5 * 1.5) / sqrt(3 * 5)
    EXPECT_DOUBLE_EQ(rank_correlation(Values{4, 4, 4, 6}, Values{1, 2, 3, 4}), 3 / std::sqrt(15));
}

TEST(RankCorrelation, IsNotANumberWhereThereIsNone) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    EXPECT_TRUE(std::isnan(rank_correlation(Values{1, 2}, Values{1, 2})));
    EXPECT_TRUE(std::isnan(rank_correlation(Values{}, Values{})));
    EXPECT_TRUE(std::isnan(rank_correlation(Values{1, 1, 1}, Values{1, 2, 3})));
    EXPECT_TRUE(std::isnan(rank_correlation(Values{1, 2, 3}, Values{2, 2, 2})));
    EXPECT_TRUE(std::isnan(rank_correlation(Values{1, 2, 3}, Values{1, nan, 3})));
    EXPECT_THROW(rank_correlation(Values{1, 2, 3}, Values{1, 2, 3, 4}), Error);
}

}  // namespace
}  // namespace headscope::experiments
