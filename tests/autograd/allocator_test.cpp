#include "autograd/allocator.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "autograd/graph.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/linear.h"
#include "autograd/ops/reduction.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using test::error_of;
using test::random_leaf;
using test::random_tensor;

#if defined(HEADSCOPE_SANITIZES_ADDRESS)
constexpr bool caching = false;  // the allocator keeps no cache there
#else
constexpr bool caching = true;
#endif

TEST(Allocator, BlocksAreAlignedAndWritable) {
    for (const std::size_t bytes :
         {0UL, 1UL, 63UL, 64UL, 65UL, 511UL, 512UL, 513UL, 1000UL, 4096UL, 4097UL, 1000003UL}) {
        void* block = allocator::allocate(bytes);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % 64, 0U) << bytes;
        std::memset(block, 0x5a, bytes);
        allocator::release(block, bytes);
    }
}

TEST(Allocator, RoundsUpByAnEighthAtMost) {
    for (std::size_t bytes = 1; bytes < 3'000'000; bytes += bytes / 7 + 1) {
        const std::size_t before = allocator::stats().in_use;
        void* block = allocator::allocate(bytes);
        const std::size_t rounded = allocator::stats().in_use - before;
        allocator::release(block, bytes);
        EXPECT_GE(rounded, bytes);
        EXPECT_LE(rounded, std::max(bytes + bytes / 8, bytes + 64)) << bytes;
        EXPECT_EQ(allocator::stats().in_use, before);
    }
}

TEST(Allocator, HandsTheSameBlockOutAgain) {
    if (!caching) GTEST_SKIP() << "no cache under AddressSanitizer";
    void* first = allocator::allocate(100000);
    allocator::release(first, 100000);
    const allocator::Stats before = allocator::stats();
    void* second = allocator::allocate(100001);  // nearly the same size shares the block
    EXPECT_EQ(second, first);
    EXPECT_EQ(allocator::stats().system_requests, before.system_requests);
    EXPECT_LT(allocator::stats().cached, before.cached);
    void* third = allocator::allocate(100000);
    EXPECT_NE(third, second);
    allocator::release(second, 100001);
    allocator::release(third, 100000);
    EXPECT_GT(allocator::stats().cached, 0U);
    allocator::release_cache();
    EXPECT_EQ(allocator::stats().cached, 0U);
}

TEST(Allocator, PeakIsTheLargestUse) {
    const std::size_t start = allocator::stats().in_use;
    allocator::reset_peak();
    EXPECT_EQ(allocator::stats().peak, start);
    void* a = allocator::allocate(1 << 20);
    void* b = allocator::allocate(1 << 20);
    allocator::release(a, 1 << 20);
    void* c = allocator::allocate(1 << 10);
    EXPECT_EQ(allocator::stats().peak, start + (2 << 20));
    EXPECT_EQ(allocator::stats().in_use, start + (1 << 20) + (1 << 10));
    allocator::release(b, 1 << 20);
    allocator::release(c, 1 << 10);
    EXPECT_EQ(allocator::stats().peak, start + (2 << 20));
    allocator::reset_peak();
    EXPECT_EQ(allocator::stats().peak, start);
}

TEST(Allocator, SteadyStateAsksTheSystemForNothing) {
    if (!caching) GTEST_SKIP() << "no cache under AddressSanitizer";
    const Tensor x = random_tensor({13, 37}, 1);
    const Tensor first = random_leaf({53, 37}, 2);
    const Tensor bias = random_leaf({53}, 3);
    const Tensor second = random_leaf({11, 53}, 4);
    const auto step = [&] {
        const Tensor hidden = linear(x, first, bias);
        backward(sum(mul(linear(mul(hidden, hidden), second), linear(hidden, second))));
    };
    for (int i = 0; i < 2; ++i) step();
    allocator::Stats before = allocator::stats();
    allocator::reset_peak();
    step();
    const std::size_t peak = allocator::stats().peak;
    for (int i = 0; i < 20; ++i) step();
    EXPECT_EQ(allocator::stats().system_requests, before.system_requests);
    EXPECT_EQ(allocator::stats().in_use, before.in_use);
    EXPECT_EQ(allocator::stats().cached, before.cached);
    EXPECT_EQ(allocator::stats().peak, peak);
}

TEST(Allocator, ThreadsShareIt) {
    const std::size_t before = allocator::stats().in_use;
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([t] {
            std::vector<std::pair<unsigned char*, std::size_t>> held;
            for (std::size_t i = 0; i < 2000; ++i) {
                const std::size_t bytes = 1 + i * 37 % 5000;
                auto* block = static_cast<unsigned char*>(allocator::allocate(bytes));
                std::memset(block, t, bytes);
                held.emplace_back(block, bytes);
                if (held.size() < 8) continue;
                const auto [oldest, size] = held.front();
                const bool untouched = std::all_of(oldest, oldest + size, [t](unsigned char c) { return c == t; });
                EXPECT_TRUE(untouched) << "a block was handed out twice";
                allocator::release(oldest, size);
                held.erase(held.begin());
            }
            for (const auto& [block, bytes] : held) allocator::release(block, bytes);
        });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(allocator::stats().in_use, before);
}

TEST(Allocator, TooLargeIsAnError) {
    const allocator::Stats before = allocator::stats();
    EXPECT_EQ(error_of([] { allocator::allocate((std::size_t{1} << 47) + 1); }),
              "memory: a block of 140737488355329 bytes is too large");
    EXPECT_EQ(error_of([] { Tensor::empty({1L << 60}); }), "memory: a block of 4611686018427387904 bytes is too large");
    EXPECT_EQ(allocator::stats().in_use, before.in_use);
}

std::size_t address_space() {
    std::size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    return pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

TEST(Allocator, GivesUpItsCacheBeforeItFails) {
#if defined(HEADSCOPE_SANITIZES_ADDRESS) || defined(HEADSCOPE_SANITIZES_THREAD)
    GTEST_SKIP() << "sanitizers need address space of their own";
#endif
    constexpr std::size_t unit = 1 << 28;
    allocator::release_cache();
    void* cached = allocator::allocate(unit);
    allocator::release(cached, unit);
    rlimit before{};
    ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
    rlimit limited = before;
    limited.rlim_cur = address_space() + unit + unit / 2;  // room for two units only without the cached one
    ASSERT_EQ(setrlimit(RLIMIT_AS, &limited), 0);
    void* fits = nullptr;
    const std::string no_room = error_of([&] { fits = allocator::allocate(2 * unit); });
    const std::size_t left = allocator::stats().cached;
    const std::string text = error_of([] { allocator::allocate(3 * unit); });
    ASSERT_EQ(setrlimit(RLIMIT_AS, &before), 0);
    EXPECT_EQ(no_room, "no error");
    EXPECT_EQ(left, 0U);
    EXPECT_TRUE(text.starts_with("memory: the system has no block of 805306368 bytes; ")) << text;
    EXPECT_TRUE(text.ends_with(" bytes are in use; make the model or the batch smaller")) << text;
    if (fits != nullptr) allocator::release(fits, 2 * unit);
    allocator::release_cache();
}

}  // namespace
}  // namespace headscope
