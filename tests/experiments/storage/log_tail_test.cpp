#include "experiments/storage/log_tail.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "experiments/storage/log.h"
#include "experiments/storage/log_seal.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments {
namespace {

namespace fs = std::filesystem;

using Steps = std::vector<std::int64_t>;

class Tail : public testing::Test {
protected:
    static void append(Log& log, std::int64_t step) {
        log.append("train", step, {std::sin(static_cast<double>(step)), static_cast<double>(7 * step)});
        std::vector<double> row(6);
        for (std::size_t i = 0; i < row.size(); ++i)
            row[i] = static_cast<double>(step) + 0.125 * static_cast<double>(i);
        log.append_metric("entropy", step, row);
        if (step % 2 == 0) log.event(step, "note", "größe " + std::to_string(step));
        log.set_complete_until(step + 1);
    }

    static void declare(Log& log) {
        log.set_attribute("state", "running");
        log.declare_series("train", {{"loss", "nat/token", "loss"}, {"tokens_seen", "1", "tokens seen", true}});
        MetricSpec spec;
        spec.name = "entropy";
        spec.units = "nat";
        spec.dimensions = {{"layer", 2, {}}, {"head", 3, {}}};
        log.declare_metric(spec, false);
    }

    /// Published at step 3, and with a block each for the rows 3 to 4, 5 and 6 to 8.
    std::unique_ptr<Log> three_blocks() const {
        auto log = std::make_unique<Log>(path_);
        declare(*log);
        for (std::int64_t step = 0; step < 9; ++step) {
            append(*log, step);
            if (step == 2) log->publish();
            if (step == 4 || step == 5 || step == 8) log->save_rows();
        }
        return log;
    }

    static Steps steps(const std::string& path) { return open_log(path).read<std::int64_t>("/train/step"); }
    static Steps up_to(std::int64_t end) {
        Steps all;
        for (std::int64_t step = 0; step < end; ++step) all.push_back(step);
        return all;
    }
    void write(const std::string& bytes) const { std::ofstream(tail_, std::ios::binary) << bytes; }

    const TemporaryFolder temporary_;
    const std::string path_ = temporary_.path("log.h5"), tail_ = path_ + ".tail";
};

TEST_F(Tail, RowsThatAreThereTwiceAreRefused) {
    three_blocks();
    const std::string tail = read_file(tail_);
    const std::size_t first = tail.find('\n') + 1, line = tail.find('\n', first) + 1;
    const std::string block = tail.substr(first, line - first + std::stoul(tail.substr(first + std::strlen("rows "))));
    write(tail.substr(0, first) + block + tail.substr(first));
    EXPECT_THROW(open_log(path_), IoError);
    EXPECT_THROW(Log::reopen(path_, 2), IoError);
    write(tail);
    EXPECT_EQ(steps(path_), up_to(9));
}

TEST_F(Tail, ReadersSeeItsRows) {
    const auto log = three_blocks();
    EXPECT_EQ(hdf5::File::open(path_).read<std::int64_t>("/train/step"), up_to(3));
    const hdf5::File both = open_log(path_);
    EXPECT_EQ(both.read<std::int64_t>("/train/step"), up_to(9));
    EXPECT_EQ(both.read<double>("/train/loss").at(7), std::sin(7.0));
    EXPECT_EQ(both.read<std::int64_t>("/train/tokens_seen").at(8), 56);
    EXPECT_EQ(both.info("/heads/entropy/value").shape, (hdf5::Dims{9, 2, 3}));
    EXPECT_EQ(both.read<float>("/heads/entropy/value").at(5 * 6 + 4), 5.5F);
    EXPECT_EQ(both.read_texts("/events/message").at(3), "größe 6");
    EXPECT_EQ(both.integer_attribute("/", "complete_until"), 9);
}

TEST_F(Tail, ThePublishedLogHasThemAll) {
    const auto log = three_blocks();
    append(*log, 9);
    log->publish();
    EXPECT_FALSE(fs::exists(tail_));
    const hdf5::File published = hdf5::File::open(path_);
    EXPECT_EQ(published.read<std::int64_t>("/train/step"), up_to(10));
    EXPECT_EQ(published.read_texts("/events/message").size(), 5U);
    EXPECT_EQ(published.integer_attribute("/", "complete_until"), 10);
    // And so has one that never had a tail.
    const std::string other = temporary_.path("other.h5");
    Log without(other);
    declare(without);
    for (std::int64_t step = 0; step < 10; ++step) append(without, step);
    without.publish();
    EXPECT_EQ(hdf5::File::open(other).read<float>("/heads/entropy/value"),
              published.read<float>("/heads/entropy/value"));
    EXPECT_EQ(hdf5::File::open(other).read<double>("/train/loss"), published.read<double>("/train/loss"));
}

TEST_F(Tail, WhatIsNotWholeCountsForNothing) {
    three_blocks();
    const std::string bytes = read_file(tail_);
    const auto end_of_block = [&](std::size_t header) {  // "rows 123 <SHA-256>\n"
        return bytes.find('\n', header) + 1 + std::stoul(bytes.substr(header + 5));
    };
    const std::size_t second = end_of_block(bytes.find('\n') + 1), third = end_of_block(second);
    ASSERT_EQ(end_of_block(third), bytes.size());
    for (std::size_t length = 0; length < bytes.size(); length += 1 + length % 401) {
        write(bytes.substr(0, length));
        const std::int64_t end = length < second ? 3 : length < third ? 5 : 6;
        ASSERT_EQ(steps(path_), up_to(end)) << length;
        ASSERT_EQ(open_log(path_).has_attribute("/", "complete_until"), true);
        ASSERT_EQ(open_log(path_).integer_attribute("/", "complete_until"), end);
    }
    for (std::size_t at = bytes.find('\n') + 1; at < bytes.size(); at += 1 + at % 797) {
        std::string damaged = bytes;
        damaged[at] = static_cast<char>(damaged[at] ^ 4);
        write(damaged);
        ASSERT_EQ(steps(path_), up_to(at < second ? 3 : at < third ? 5 : 6)) << at;
    }
}

TEST_F(Tail, OfAnotherPublicationCountsForNothing) {
    auto log = three_blocks();
    const std::string stale = read_file(tail_);
    log->publish();
    write(stale);  // as if the process had been killed before it removed the tail
    EXPECT_EQ(steps(path_), up_to(9));
    append(*log, 9);
    log->save_rows();
    EXPECT_EQ(steps(path_), up_to(10));
}

TEST_F(Tail, ARunGoesOnAndForksWithItsRows) {
    three_blocks();
    const std::string fork = temporary_.path("fork.h5");
    Log::fork(path_, 7, fork)->publish();
    EXPECT_EQ(hdf5::File::open(fork).read<std::int64_t>("/train/step"), up_to(7));
    EXPECT_TRUE(fs::exists(tail_));  // of the parent, which stays as it is

    const auto log = Log::reopen(path_, 8);
    EXPECT_EQ(steps(path_), up_to(9)) << "nothing is changed before the first publish";
    declare(*log);
    log->publish();
    EXPECT_FALSE(fs::exists(tail_));
    EXPECT_EQ(steps(path_), up_to(8));
    append(*log, 8);
    log->save_rows();
    EXPECT_EQ(steps(path_), up_to(9));
    EXPECT_EQ(open_log(path_).read_texts("/events/message").size(), 5U);
}

TEST_F(Tail, ALogThatAnotherProgramChangedIsNotSealedAgain) {
    const auto log = three_blocks();
    std::fstream(path_, std::ios::in | std::ios::out | std::ios::binary).seekp(3000).put('x');
    append(*log, 9);
    EXPECT_THROW(log->publish(), IoError);
    EXPECT_THROW(open_log(path_), IoError);
    EXPECT_TRUE(fs::exists(tail_));
}

TEST_F(Tail, OfAnotherKindIsRefused) {
    three_blocks();
    fs::remove(tail_);
    fs::create_directory(tail_);
    EXPECT_THROW(open_log(path_), IoError);
    fs::remove(tail_);
    fs::create_symlink(path_, tail_);
    EXPECT_THROW(open_log(path_), IoError);
}

/// Largest memory of the process so far, in bytes.
std::int64_t peak_memory() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss * 1024;
}

// A million rows of ten datasets, 80 MB, and a map of 600 MB.
TEST_F(Tail, MemoryDoesNotGrowWithTheRows) {
    constexpr std::int64_t rows = 1'000'000, mebibyte = 1 << 20;
    Log log(path_);
    std::vector<Column> columns;
    for (int i = 0; i < 10; ++i) columns.push_back({"x" + std::to_string(i), "1", "a number"});
    log.declare_series("train", columns);
    const Steps tokens(7 * 11, 0);
    log.declare_attention(tokens, 11, 5, 3, false);
    log.publish();
    const std::int64_t before = peak_memory();
    for (std::int64_t step = 0; step < rows; ++step) {
        std::vector<double> row(10);
        for (std::size_t i = 0; i < row.size(); ++i)
            row[i] = std::sin(static_cast<double>(step) + static_cast<double>(i));
        log.append("train", step, row);
        if (step % 80 == 0) log.append("attention", step, std::vector<double>(7 * 5 * 3 * 11 * 11, row[0]));
        if (step % 20'000 == 0) log.save_rows();
        if (step == rows / 3) log.publish();
    }
    log.publish();
    EXPECT_LE(peak_memory() - before, 64 * mebibyte);
    EXPECT_GT(fs::file_size(path_), 64U * mebibyte);
    EXPECT_EQ(hdf5::File::open(path_).info("/train/x9").shape, hdf5::Dims{rows});
}

}  // namespace
}  // namespace headscope::experiments
