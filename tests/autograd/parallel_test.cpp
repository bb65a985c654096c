#include "autograd/parallel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using test::error_of;
using test::Threads;

TEST(Parallel, NumberOfThreads) {
    const int before = num_threads();
    EXPECT_GE(before, 1);
    {
        const Threads threads(3);
        EXPECT_EQ(num_threads(), 3);
        EXPECT_EQ(error_of([] { set_num_threads(0); }), "threads: 0 is not a number of threads; give 1 to 1024");
        EXPECT_EQ(error_of([] { set_num_threads(-2); }), "threads: -2 is not a number of threads; give 1 to 1024");
        EXPECT_EQ(error_of([] { set_num_threads(1025); }), "threads: 1025 is not a number of threads; give 1 to 1024");
        EXPECT_EQ(num_threads(), 3);
    }
    EXPECT_EQ(num_threads(), before);
}

TEST(Parallel, ALimitIsOfItsThreadAndItsScope) {
    const Threads threads(3);
    {
        const ThreadLimit two(2);
        EXPECT_EQ(num_threads(), 2);
        int elsewhere = 0;
        std::thread([&] {
            const ThreadLimit five(5);
            elsewhere = num_threads();
        }).join();
        EXPECT_EQ(elsewhere, 5);
        std::thread([&] { elsewhere = num_threads(); }).join();
        EXPECT_EQ(elsewhere, 3);
        {
            const ThreadLimit one(1);
            set_num_threads(4);  // for who has no limit
            EXPECT_EQ(num_threads(), 1);
        }
        EXPECT_EQ(num_threads(), 2);
        EXPECT_EQ(error_of([] { ThreadLimit(0); }), "threads: 0 is not a number of threads; give 1 to 1024");
    }
    EXPECT_EQ(num_threads(), 4);
}

std::vector<std::pair<std::int64_t, std::int64_t>> borders(std::int64_t n, std::int64_t grain) {
    std::vector<std::pair<std::int64_t, std::int64_t>> result;
    std::mutex mutex;
    parallel_for(n, grain, [&](std::int64_t begin, std::int64_t end) {
        const std::lock_guard lock(mutex);
        result.emplace_back(begin, end);
    });
    std::sort(result.begin(), result.end());
    return result;
}

TEST(Parallel, BordersDoNotDependOnThreads) {
    const std::vector<std::pair<std::int64_t, std::int64_t>> expected{{0, 7}, {7, 14}, {14, 21}, {21, 23}};
    for (const int count : {1, 2, 3, 5, 64}) {
        const Threads threads(count);
        EXPECT_EQ(borders(23, 7), expected);
        EXPECT_EQ(borders(14, 7).size(), 2U);
        EXPECT_EQ(borders(1, 7).size(), 1U);
        EXPECT_TRUE(borders(0, 7).empty());
    }
}

TEST(Parallel, EveryChunkRunsOnce) {
    for (const int count : {1, 2, 5}) {
        const Threads threads(count);
        std::vector<std::atomic<int>> runs(1000);
        parallel_chunks(1000, [&](std::int64_t chunk) { ++runs[static_cast<std::size_t>(chunk)]; });
        EXPECT_TRUE(std::all_of(runs.begin(), runs.end(), [](const auto& run) { return run == 1; }));
    }
}

TEST(Parallel, UsesSeveralThreads) {
    const Threads threads(2);
    std::atomic<int> waiting{0};
    // Each chunk waits for the other, which ends only when two threads are at work.
    parallel_chunks(2, [&](std::int64_t) {
        ++waiting;
        while (waiting < 2) std::this_thread::yield();
    });
    EXPECT_EQ(waiting, 2);
}

TEST(Parallel, SeveralThreadsMayCallAtOnce) {
    const Threads limit(3);
    std::atomic<int> wrong{0};
    std::vector<std::thread> callers;
    for (int caller = 0; caller < 3; ++caller)
        callers.emplace_back([&] {
            for (std::int64_t region = 0; region < 2000; ++region) {
                std::vector<std::atomic<int>> runs(static_cast<std::size_t>(2 + region % 7));
                parallel_chunks(static_cast<std::int64_t>(runs.size()),
                                [&](std::int64_t chunk) { ++runs[static_cast<std::size_t>(chunk)]; });
                for (const auto& run : runs) wrong += run != 1;
            }
        });
    for (std::thread& caller : callers) caller.join();
    EXPECT_EQ(wrong, 0);
}

// What a region writes is there when it is over, also when its helpers slept and had to be woken.
TEST(Parallel, ResultsAreThereAtTheEnd) {
    for (const int count : {2, 5}) {
        const Threads threads(count);
        for (std::int64_t region = 0; region < 300; ++region) {
            if (region % 50 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
            std::vector<std::int64_t> values(static_cast<std::size_t>(1 + region), -1);
            parallel_chunks(static_cast<std::int64_t>(values.size()),
                            [&](std::int64_t chunk) { values[static_cast<std::size_t>(chunk)] = chunk * region; });
            for (std::size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], static_cast<std::int64_t>(i) * region);
        }
    }
}

TEST(Parallel, ExceptionsComeOut) {
    for (const int count : {1, 2, 5}) {
        const Threads threads(count);
        const auto one_fails = [] {
            parallel_chunks(20, [](std::int64_t chunk) {
                if (chunk == 13) throw Error("chunk 13 is bad");
            });
        };
        EXPECT_EQ(error_of(one_fails), "chunk 13 is bad");
        const auto all_fail = [] { parallel_for(20, 1, [](std::int64_t, std::int64_t) { throw Error("all bad"); }); };
        EXPECT_EQ(error_of(all_fail), "all bad");
        EXPECT_EQ(borders(23, 7).size(), 4U) << "the threads must be usable after an exception";
    }
}

TEST(Parallel, NestedCallRunsInItsThreadInOrder) {
    const Threads threads(4);
    std::atomic<int> strayed{0};
    std::atomic<int> disordered{0};
    parallel_chunks(8, [&](std::int64_t) {
        const auto outer = std::this_thread::get_id();
        std::int64_t next = 0;
        parallel_chunks(50, [&](std::int64_t chunk) {
            if (std::this_thread::get_id() != outer) ++strayed;
            if (chunk != next++) ++disordered;
        });
    });
    EXPECT_EQ(strayed, 0);
    EXPECT_EQ(disordered, 0);
}

TEST(Parallel, ExceptionOfANestedCallComesOut) {
    const Threads threads(3);
    const auto nested = [] {
        parallel_chunks(6, [](std::int64_t outer) {
            parallel_chunks(6, [outer](std::int64_t inner) {
                if (outer == 4 && inner == 2) throw Error("inner");
            });
        });
    };
    EXPECT_EQ(error_of(nested), "inner");
}

}  // namespace
}  // namespace headscope
