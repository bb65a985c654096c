#include "autograd/large_blocks.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <vector>

#include "autograd/random.h"

namespace headscope {
namespace {

constexpr std::size_t mega = std::size_t{1} << 20;

TEST(LargeBlocks, OneSizeUsesWhatAnotherLeft) {
    LargeBlocks blocks;
    void* const a = blocks.take(3 * mega);
    void* const b = blocks.take(3 * mega);
    void* const c = blocks.take(mega);
    EXPECT_EQ(blocks.system_requests(), 1U);
    blocks.give(a, 3 * mega);
    blocks.give(b, 3 * mega);  // joins a
    EXPECT_EQ(blocks.take(5 * mega), a);
    blocks.give(a, 5 * mega);
    EXPECT_EQ(blocks.take(2 * mega), a) << "the smallest block that fits, not the unused rest of the range";
    blocks.give(c, mega);
    blocks.give(a, 2 * mega);
    EXPECT_GE(blocks.cached(), 7 * mega);
    EXPECT_LE(blocks.cached(), 7 * mega + 4096);
    blocks.drop_free();
    EXPECT_EQ(blocks.cached(), 0U);
    EXPECT_NE(blocks.take(mega), nullptr);
}

// Blocks of random sizes come and go; none may overlap another or change.
TEST(LargeBlocks, BlocksNeverOverlap) {
    LargeBlocks blocks;
    const RandomStream random(1, "blocks");
    std::map<std::uint8_t*, std::size_t> held;
    std::uint64_t index = 0;
    for (int round = 0; round < 3000; ++round) {
        if (round % 500 == 499) blocks.drop_free();
        if (held.size() < 30 && (held.empty() || random.below(2, index++) == 0)) {
            const std::size_t bytes = 1 + random.below(mega, index++);
            auto* const block = static_cast<std::uint8_t*>(blocks.take(bytes));
            ASSERT_NE(block, nullptr);
            ASSERT_EQ(reinterpret_cast<std::uintptr_t>(block) % 64, 0U);
            std::memset(block, static_cast<int>(bytes % 251), bytes);
            const auto next = held.lower_bound(block);
            ASSERT_TRUE(next == held.end() || block + bytes <= next->first);
            ASSERT_TRUE(next == held.begin() || std::prev(next)->first + std::prev(next)->second <= block);
            held.emplace(block, bytes);
        } else {
            const auto which = std::next(held.begin(), static_cast<std::ptrdiff_t>(random.below(held.size(), index++)));
            const auto [block, bytes] = *which;
            for (std::size_t i = 0; i < bytes; i += 997) ASSERT_EQ(block[i], bytes % 251);
            ASSERT_EQ(block[bytes - 1], bytes % 251);
            held.erase(which);
            blocks.give(block, bytes);
        }
    }
    EXPECT_LT(blocks.system_requests(), 20U);
}

TEST(LargeBlocks, NoMemoryIsNull) {
    LargeBlocks blocks;
    EXPECT_EQ(blocks.take(std::size_t{1} << 60), nullptr);
}

}  // namespace
}  // namespace headscope
