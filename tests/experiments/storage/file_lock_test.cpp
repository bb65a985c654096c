#include "experiments/storage/file_lock.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "experiments/base/errors.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments {
namespace {

/// Reads a number, adds one and writes it, many at once: none is lost.
TEST(FileLock, OneAfterTheOther) {
    const TemporaryFolder temporary;
    const std::string path = temporary.path("count");
    std::ofstream(path) << 0;
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 4; ++thread)
        threads.emplace_back([&] {
            for (int time = 0; time < 50; ++time) {
                const FileLock lock(Folder(temporary.path()), "count");
                int number = 0;
                std::ifstream(path) >> number;
                std::ofstream(path) << number + 1;
            }
        });
    for (std::thread& thread : threads) thread.join();
    int number = 0;
    std::ifstream(path) >> number;
    EXPECT_EQ(number, 200);
    EXPECT_EQ(Folder(temporary.path()).list(), std::vector<std::string>{"count"}) << "no lock file stays";
}

TEST(FileLock, WaitsForAWhile) {
    const TemporaryFolder temporary;
    const Folder folder(temporary.path());
    const FileLock lock(folder, "a");
    const FileLock other(folder, "b");
    try {
        const FileLock second(folder, "a", 0.02);
        ADD_FAILURE() << "locked twice";
    } catch (const IoError& error) {
        EXPECT_NE(std::string(error.what()).find(temporary.path("a") + ": another process"), std::string::npos);
    }
}

TEST(FileLock, WhatAKilledProcessLeftHoldsNobodyUp) {
    const TemporaryFolder temporary;
    std::ofstream(temporary.path(".a.lock"));
    { const FileLock lock(Folder(temporary.path()), "a", 0.02); }
    EXPECT_TRUE(std::filesystem::is_empty(temporary.path()));
}

}  // namespace
}  // namespace headscope::experiments
