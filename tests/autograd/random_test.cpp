#include "autograd/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <thread>
#include <vector>

#include "autograd/error.h"

namespace headscope {
namespace {

using Block = std::array<std::uint32_t, 4>;

// The known answers published with the generator.
TEST(Philox, KnownAnswers) {
    const std::uint32_t ones = 0xffffffff;
    EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
    EXPECT_EQ(philox4x32({ones, ones, ones, ones}, {ones, ones}),
              (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
    EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
              (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(HashName, KnownAnswers) {
    EXPECT_EQ(hash_name(""), 0xcbf29ce484222325u);
    EXPECT_EQ(hash_name("a"), 0xaf63dc4c8601ec8cu);
    EXPECT_EQ(hash_name("foobar"), 0x85944171f73967e8u);
}

TEST(RandomStream, EverySeedNameStepAndIndexCounts) {
    std::set<std::uint64_t> seen;
    for (const std::uint64_t seed : {0ull, 1ull, 1ull << 32, 1ull << 63})
        for (const char* name : {"a", "b", "init/embedding.weight"})
            for (const std::uint64_t step : {0ull, 1ull, 1ull << 32})
                for (const std::uint64_t index : {0ull, 1ull, 1ull << 32, 1ull << 40})
                    seen.insert(RandomStream(seed, name, step).bits(index));
    EXPECT_EQ(seen.size(), 4u * 3 * 3 * 4);
    EXPECT_EQ(RandomStream(3, "a", 4).bits(5), RandomStream(3, "a", 4).bits(5));
}

TEST(RandomStream, UniformFillsTheUnitInterval) {
    const RandomStream random(11, "uniform");
    constexpr int count = 40000;
    double total = 0;
    double lowest = 1;
    double highest = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        const double u = random.uniform(i);
        ASSERT_GE(u, 0.0);
        ASSERT_LT(u, 1.0);
        total += u;
        lowest = std::min(lowest, u);
        highest = std::max(highest, u);
    }
    EXPECT_NEAR(total / count, 0.5, 5 * std::sqrt(1.0 / 12 / count));
    EXPECT_LT(lowest, 1e-3);
    EXPECT_GT(highest, 1 - 1e-3);
}

// Whole blocks of decisions agree with single numbers, for any first index (also across the word border) and count,
// and nothing is written after them.
TEST(RandomStream, KeepIsUniformCompared) {
    const RandomStream random(11, "keep", 1ull << 33);
    for (const double p : {0.0, 0.1, 0.5, 0.999, random.uniform(6), std::nextafter(random.uniform(6), 1.0)}) {
        for (const std::uint64_t first : {0ull, 3ull, (1ull << 32) - 9, (1ull << 40) + 5}) {
            for (std::int64_t count = 0; count < 40; ++count) {
                std::vector<float> single(41, -1.0f);
                std::vector<double> twice(41, -1.0);
                random.keep(first, count, p, 1.25f, single.data());
                random.keep(first, count, p, 1.25, twice.data());
                for (std::size_t i = 0; i < single.size(); ++i) {
                    const bool inside = static_cast<std::int64_t>(i) < count;
                    const double expected = !inside ? -1.0 : random.uniform(first + i) >= p ? 1.25 : 0.0;
                    ASSERT_EQ(single[i], expected) << first << " + " << i << ", p " << p;
                    ASSERT_EQ(twice[i], expected) << first << " + " << i << ", p " << p;
                }
            }
        }
    }
}

TEST(RandomStream, NormalPairsAreIndependentAndBeginWithNormal) {
    const RandomStream random(11, "normal");
    double mean = 0, square = 0, fourth = 0, product = 0, squares = 0;
    constexpr int count = 40000;
    for (std::uint64_t i = 0; i < count; ++i) {
        const auto [first, second] = random.normal_pair(i);
        EXPECT_EQ(first, random.normal(i));
        mean += second / count;
        square += second * second / count;
        fourth += std::pow(second, 4) / count;
        product += first * second / count;
        squares += first * first * second * second / count;
    }
    const double error = 4 / std::sqrt(double{count});
    EXPECT_NEAR(mean, 0, error);
    EXPECT_NEAR(square, 1, error * std::sqrt(2.0));
    EXPECT_NEAR(fourth, 3, error * std::sqrt(96.0));
    EXPECT_NEAR(product, 0, error);
    EXPECT_NEAR(squares, 1, error * std::sqrt(8.0));
}

TEST(RandomStream, NormalHasItsMoments) {
    const RandomStream random(11, "normal");
    constexpr int count = 40000;
    double power[5] = {};
    double neighbours = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        const double x = random.normal(i);
        for (int k = 1; k <= 4; ++k) power[k] += std::pow(x, k) / count;
        neighbours += x * random.normal(i + 1) / count;
    }
    const double deviation = std::sqrt(1.0 / count);
    EXPECT_NEAR(power[1], 0, 5 * deviation);
    EXPECT_NEAR(power[2], 1, 5 * deviation * std::sqrt(2));
    EXPECT_NEAR(power[3], 0, 5 * deviation * std::sqrt(15));
    EXPECT_NEAR(power[4], 3, 5 * deviation * std::sqrt(96));
    EXPECT_NEAR(neighbours, 0, 5 * deviation);
}

TEST(RandomStream, BelowIsEvenlySpread) {
    const RandomStream random(11, "below");
    constexpr int bound = 7;
    constexpr int count = 35000;
    int seen[bound] = {};
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint64_t value = random.below(bound, i);
        ASSERT_LT(value, static_cast<std::uint64_t>(bound));
        ++seen[value];
    }
    for (const int times : seen) EXPECT_NEAR(times, count / bound, 5 * std::sqrt(count / bound));
}

TEST(RandomScope, NestsAndBelongsToItsThread) {
    EXPECT_THROW(RandomScope::stream("x"), Error);
    const RandomScope outer(1, 2);
    EXPECT_EQ(RandomScope::stream("x").bits(0), RandomStream(1, "x", 2).bits(0));
    {
        const RandomScope inner(3, 4);
        EXPECT_EQ(RandomScope::stream("x").bits(0), RandomStream(3, "x", 4).bits(0));
    }
    EXPECT_EQ(RandomScope::stream("x").bits(0), RandomStream(1, "x", 2).bits(0));
    std::thread([] { EXPECT_THROW(RandomScope::stream("x"), Error); }).join();
}

}  // namespace
}  // namespace headscope
