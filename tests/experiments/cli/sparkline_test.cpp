// Series in a few characters.
#include "experiments/cli/sparkline.h"

#include <gtest/gtest.h>

#include <limits>

#include "experiments/cli/text_lines.h"

namespace headscope::experiments::cli {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

std::string line_of(const std::vector<double>& values) { return sparkline(values); }

TEST(Sparkline, RisesWithTheValues) {
    EXPECT_EQ(line_of({1, 2, 3, 4, 5, 6, 7, 8}), "▂▃▄▅▆▇██");
    EXPECT_EQ(line_of({0.01, 1.01, 2.01, 3.01, 4.01, 5.01, 6.01, 8}), "▁▂▃▄▅▆▇█");
    EXPECT_EQ(line_of({8, 4, 2, 0}), "█▅▃▁");
}

TEST(Sparkline, TakesMeansOfBuckets) {
    std::vector<double> values;
    for (int bucket = 0; bucket < 10; ++bucket)
        for (const double offset : {-0.5, 0.0, 0.5}) values.push_back((bucket == 3 ? 4 : 2) + offset);
    EXPECT_EQ(line_of(values), "▅▅▅█▅▅▅▅▅▅");
    std::vector<double> uneven(13, 1.0);  // the buckets hold one value or two: the last one 11 and 12
    uneven[12] = 3;
    EXPECT_EQ(line_of(uneven), "▅▅▅▅▅▅▅▅▅█");
}

TEST(Sparkline, HasOneCharacterPerValueWhenThereAreFew) {
    EXPECT_EQ(line_of({}), "");
    EXPECT_EQ(line_of({0.3}), "█");
    EXPECT_EQ(columns_of(line_of(std::vector<double>(7, 1.0))), 7u);
    for (const std::size_t count : {10u, 11u, 19u, 20u, 1001u})
        EXPECT_EQ(columns_of(line_of(std::vector<double>(count, 1.0))), sparkline_columns) << count;
}

TEST(Sparkline, LevelsAreThoseOfTheScaleFromZero) {
    EXPECT_EQ(line_of({5, 5, 5}), "███");
    EXPECT_EQ(line_of({0, 0, 0}), "▁▁▁");
    EXPECT_EQ(line_of({1e-300, 5e-301}), "█▅");
    EXPECT_EQ(line_of({1e308, 5e307}), "█▅");
    EXPECT_EQ(line_of(std::vector<double>(30, 1e308)), "██████████");  // sums would not be finite
}

TEST(Sparkline, MarksWhatWasNotMeasured) {
    EXPECT_EQ(line_of({nan, 1, nan, 4}), "·▃·█");
    EXPECT_EQ(line_of({nan, nan}), "··");
    EXPECT_EQ(line_of({infinity, 1}), "·█");
    std::vector<double> values(20, 1.0);
    values[2] = values[3] = values[4] = nan;  // all of the second bucket, half of the third
    EXPECT_EQ(line_of(values), "█·████████");
}

}  // namespace
}  // namespace headscope::experiments::cli
