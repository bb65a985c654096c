#include "experiments/storage/run_folder.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "experiments/base/sha256.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments {
namespace {

namespace fs = std::filesystem;

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

class RunFolder : public testing::Test {
protected:
    /// Everything in the folder, temporary files included.
    std::vector<std::string> names() const {
        std::vector<std::string> result;
        for (const auto& entry : fs::directory_iterator(folder_)) result.push_back(entry.path().filename().string());
        std::sort(result.begin(), result.end());
        return result;
    }

    const TemporaryFolder temporary_;
    const std::string folder_ = temporary_.path();
};

template <class Failure, class Action>
std::string message_of(Action action) {
    try {
        action();
    } catch (const Failure& error) {
        return error.what();
    }
    return "nothing was thrown";
}

TEST_F(RunFolder, WritesAndReplaces) {
    const std::string path = folder_ + "/log.h5", large(3 << 20, 'x');
    write_file_atomically(path, bytes_of("first"));
    EXPECT_EQ(read_file(path), "first");
    write_file_atomically(path, bytes_of(large));
    EXPECT_EQ(read_file(path), large);
    write_file_atomically(path, {});
    EXPECT_EQ(read_file(path), "");
    EXPECT_EQ(names(), std::vector<std::string>{"log.h5"});
}

TEST_F(RunFolder, OpenFilesKeepTheOldContents) {
    const std::string path = folder_ + "/log.h5";
    write_file_atomically(path, bytes_of("first"));
    std::ifstream reader(path);
    write_file_atomically(path, bytes_of("second"));
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(reader), {}), "first");
}

// Root may write anywhere, so these places refuse for other reasons than permissions.
TEST_F(RunFolder, FailuresNamePathAndReason) {
    write_file_atomically(folder_ + "/file", bytes_of("kept"));
    const auto write_to = [](const std::string& path) {
        return message_of<IoError>([&] { write_file_atomically(path, bytes_of("x")); });
    };
    EXPECT_EQ(write_to(folder_ + "/missing/log.h5"),
              folder_ + "/missing/log.h5: cannot be written: No such file or directory; check the path");
    EXPECT_EQ(write_to(folder_ + "/file/log.h5"),
              folder_ + "/file/log.h5: cannot be written: Not a directory; check the path");
    EXPECT_NE(write_to("/proc/log.h5").find("/proc/log.h5: cannot be written: "), std::string::npos);
    fs::create_directories(folder_ + "/taken/by/folders");
    EXPECT_NE(write_to(folder_ + "/taken").find("a folder is in the way"), std::string::npos);
    EXPECT_EQ(names(), (std::vector<std::string>{"file", "taken"}));
    EXPECT_EQ(read_file(folder_ + "/file"), "kept");
    EXPECT_EQ(message_of<IoError>([&] { read_file(folder_ + "/missing"); }),
              folder_ + "/missing: cannot be opened: No such file or directory; check the path");
    EXPECT_EQ(message_of<IoError>([&] { read_file(folder_); }), folder_ + ": is a folder, not a file; name a file");
}

// A limit on file sizes stands for a full disk: the first write is short, the next one fails.
TEST_F(RunFolder, FailingWriteLeavesTheOldFile) {
    const std::string path = folder_ + "/log.h5";
    write_file_atomically(path, bytes_of("old"));
    const pid_t child = ::fork();
    if (child == 0) {
        std::signal(SIGXFSZ, SIG_IGN);
        const rlimit limit{5000, 5000};
        ::setrlimit(RLIMIT_FSIZE, &limit);
        const std::string message =
            message_of<IoError>([&] { write_file_atomically(path, bytes_of(std::string(20000, 'y'))); });
        ::_exit(message == path + ": cannot be written: File too large; raise the limit on file sizes (ulimit -f)" ? 0
                                                                                                                   : 1);
    }
    int status = -1;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    EXPECT_EQ(read_file(path), "old");
    EXPECT_EQ(names(), std::vector<std::string>{"log.h5"});
}

TEST_F(RunFolder, RemovesWhatKilledProcessesLeft) {
    for (const char* name : {"/.log.h5.tmp-123", "/.hidden", "/.x.tmp-", "/.x.tmp-1a", "/x.tmp-1", "/log.h5"}) {
        write_file_atomically(folder_ + name, bytes_of("x"));
    }
    remove_temporary_files(folder_);
    EXPECT_EQ(names(), (std::vector<std::string>{".hidden", ".x.tmp-", ".x.tmp-1a", "log.h5", "x.tmp-1"}));
    remove_temporary_files(folder_ + "/missing");
}

TEST_F(RunFolder, NewFoldersOnly) {
    create_run_folder(folder_ + "/runs/deep/a/");
    EXPECT_TRUE(fs::is_directory(folder_ + "/runs/deep/a"));
    const std::string message = message_of<UsageError>([&] { create_run_folder(folder_ + "/runs/deep/a"); });
    EXPECT_NE(message.find("headscope resume " + folder_ + "/runs/deep/a"), std::string::npos) << message;
    EXPECT_NE(message.find("--out"), std::string::npos) << message;
    write_file_atomically(folder_ + "/file", bytes_of("x"));
    EXPECT_THROW(create_run_folder(folder_ + "/file"), UsageError);
    EXPECT_THROW(create_run_folder(folder_ + "/file/run"), IoError);
    EXPECT_THROW(create_run_folder("/proc/run"), IoError);
}

TEST(Sha256, KnownDigests) {
    EXPECT_EQ(sha256(std::string_view()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(sha256(bytes_of("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_F(RunFolder, WhatIsThereIsSeen) {
    write_file_atomically(folder_ + "/b", bytes_of("x"));
    write_file_atomically(folder_ + "/.a", bytes_of("x"));
    fs::create_symlink("nowhere", folder_ + "/c");
    EXPECT_EQ(list_folder(folder_), (std::vector<std::string>{".a", "b", "c"}));
    EXPECT_TRUE(list_folder(folder_ + "/missing").empty());
    EXPECT_THROW(list_folder(folder_ + "/b"), IoError);
    EXPECT_TRUE(path_exists(folder_));
    EXPECT_TRUE(path_exists(folder_ + "/b"));
    EXPECT_FALSE(path_exists(folder_ + "/missing/x"));
    EXPECT_FALSE(path_exists(folder_ + "/b/x"));
    EXPECT_FALSE(path_exists(folder_ + "/c"));
    EXPECT_THROW(path_exists(folder_ + "/" + std::string(300, 'x')), IoError);  // too long a name to be looked up
}

TEST(RunPaths, OfALogIsItsFolder) {
    EXPECT_EQ(run_folder_of("runs/a"), "runs/a");
    EXPECT_EQ(run_folder_of("runs/a/log.h5"), "runs/a");
    EXPECT_EQ(run_folder_of("log.h5"), ".");
}

TEST(RunPaths, Names) {
    const RunPaths paths("runs/a");
    EXPECT_EQ(paths.folder, "runs/a");
    EXPECT_EQ(paths.log, "runs/a/log.h5");
    EXPECT_EQ(paths.config, "runs/a/config.toml");
    EXPECT_EQ(paths.checkpoints, "runs/a/checkpoints");
    EXPECT_EQ(without_slash("runs/a//"), "runs/a");
    EXPECT_EQ(without_slash("/"), "/");
}

}  // namespace
}  // namespace headscope::experiments
