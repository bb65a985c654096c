#include "experiments/tasks/shuffle.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <vector>

namespace headscope::experiments {
namespace {

std::vector<std::int64_t> order(const Shuffle& shuffle, std::int64_t epoch, std::int64_t count) {
    std::vector<std::int64_t> all;
    for (std::int64_t place = 0; place < count; ++place) all.push_back(shuffle.at(epoch, place));
    return all;
}

TEST(Shuffle, EveryEpochIsAPermutation) {
    for (const std::int64_t count : {1, 2, 3, 4, 5, 7, 8, 9, 10, 24, 25, 26, 63, 64, 65, 100, 997, 1024, 5000}) {
        const Shuffle shuffle(3, "s", count);
        for (const std::int64_t epoch : {0, 1, 7}) {
            std::vector<std::int64_t> sorted = order(shuffle, epoch, count), expected(sorted.size());
            std::iota(expected.begin(), expected.end(), 0);
            std::ranges::sort(sorted);
            EXPECT_EQ(sorted, expected) << count << " in epoch " << epoch;
        }
    }
}

TEST(Shuffle, SeedStreamAndEpochDecide) {
    const auto first = order(Shuffle(3, "s", 100), 2, 100);
    EXPECT_EQ(order(Shuffle(3, "s", 100), 2, 100), first);
    EXPECT_NE(order(Shuffle(4, "s", 100), 2, 100), first);
    EXPECT_NE(order(Shuffle(3, "t", 100), 2, 100), first);
    EXPECT_NE(order(Shuffle(3, "s", 100), 3, 100), first);
}

TEST(Shuffle, HugeCountsStayInRange) {
    for (const std::int64_t count : {(1LL << 40) - 1, (1LL << 40) + 1, 1LL << 52, (3LL << 52) + 5}) {
        const Shuffle shuffle(1, "s", count);
        for (const std::int64_t place : {std::int64_t{0}, std::int64_t{1}, count / 2, count - 1}) {
            const std::int64_t found = shuffle.at(0, place);
            EXPECT_GE(found, 0);
            EXPECT_LT(found, count);
        }
    }
}

/// Chi-square over its degrees of freedom, less 1, in standard deviations.
double excess(const std::vector<std::int64_t>& counts) {
    const double mean = static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0})) /
                        static_cast<double>(counts.size());
    double chi_square = 0;
    for (const std::int64_t count : counts) {
        const double off = static_cast<double>(count) - mean;
        chi_square += off * off / mean;
    }
    const auto freedom = static_cast<double>(counts.size() - 1);
    return (chi_square - freedom) / std::sqrt(2 * freedom);
}

// All orders of few, and where each goes, and what follows what, of more.
TEST(Shuffle, OrdersAreEquallyLikely) {
    for (const std::int64_t count : {2, 3, 4, 5}) {
        std::map<std::vector<std::int64_t>, std::int64_t> seen;
        const Shuffle shuffle(11, "s", count);
        const auto orders = static_cast<std::int64_t>(std::tgamma(count + 1));
        for (std::int64_t epoch = 0; epoch < 200 * orders; ++epoch) ++seen[order(shuffle, epoch, count)];
        std::vector<std::int64_t> counts;
        for (const auto& [one, times] : seen) counts.push_back(times);
        EXPECT_EQ(std::ssize(counts), orders);
        EXPECT_LT(excess(counts), 4) << count;
    }
    for (const std::int64_t count : {12, 24, 36, 4104}) {
        const Shuffle shuffle(12, "s", count);
        const std::int64_t epochs = 400'000 / count;
        std::vector<std::int64_t> at(static_cast<std::size_t>(count * 12)), step(static_cast<std::size_t>(count - 1));
        for (std::int64_t epoch = 0; epoch < epochs; ++epoch) {
            const std::vector<std::int64_t> all = order(shuffle, epoch, count);
            for (std::int64_t place = 0; place < count; ++place) {
                const std::int64_t value = all[static_cast<std::size_t>(place)];
                ++at[static_cast<std::size_t>(place * 12 + value * 12 / count)];
                if (place == 0) continue;
                const std::int64_t before = all[static_cast<std::size_t>(place - 1)];
                ++step[static_cast<std::size_t>((value - before + count) % count - 1)];
            }
        }
        EXPECT_LT(excess(at), 4) << count;
        EXPECT_LT(excess(step), 4) << count;
    }
}

}  // namespace
}  // namespace headscope::experiments
