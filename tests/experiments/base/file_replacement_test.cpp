#include "experiments/base/file_replacement.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments {
namespace {

namespace fs = std::filesystem;

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

class FileReplacing : public testing::Test {
protected:
    /// Everything in the folder, temporary files included.
    std::vector<std::string> names() const { return list_folder(folder_); }

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

TEST_F(FileReplacing, WritesAndReplaces) {
    const std::string path = folder_ + "/log.h5", large(3 << 20, 'x');
    write_file_atomically(path, bytes_of("first"));
    EXPECT_EQ(read_file(path), "first");
    write_file_atomically(path, bytes_of(large));
    EXPECT_EQ(read_file(path), large);
    write_file_atomically(path, {});
    EXPECT_EQ(read_file(path), "");
    EXPECT_EQ(names(), std::vector<std::string>{"log.h5"});
}

TEST_F(FileReplacing, OpenFilesKeepTheOldContents) {
    const std::string path = folder_ + "/log.h5";
    write_file_atomically(path, bytes_of("first"));
    std::ifstream reader(path);
    write_file_atomically(path, bytes_of("second"));
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(reader), {}), "first");
}

// Root may write anywhere, so these places refuse for other reasons than permissions.
TEST_F(FileReplacing, FailuresNamePathAndReason) {
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
TEST_F(FileReplacing, FailingWriteLeavesTheOldFile) {
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

TEST_F(FileReplacing, RemovesWhatKilledProcessesLeft) {
    for (const char* name : {"/.log.h5.tmp-123", "/.log.h5.tmp-123-4", "/.notes.tmp-1", "/.hidden", "/.log.h5.tmp-",
                             "/.log.h5.tmp-1a", "/.log.h5.tmp-1-", "/log.h5.tmp-1", "/log.h5"})
        std::ofstream(folder_ + name) << "x";
    fs::create_symlink("log.h5", folder_ + "/.log.h5.tmp-7");
    fs::create_directory(folder_ + "/.log.h5.tmp-8");
    const auto ours = [](const std::string& name) { return name == "log.h5"; };
    remove_temporary_files(Folder(folder_), ours);
    EXPECT_EQ(names(),
              (std::vector<std::string>{".hidden", ".log.h5.tmp-", ".log.h5.tmp-1-", ".log.h5.tmp-1a", ".log.h5.tmp-7",
                                        ".log.h5.tmp-8", ".notes.tmp-1", "log.h5", "log.h5.tmp-1"}));
}

TEST_F(FileReplacing, WhatALivingProcessWritesStays) {
    const auto ours = [](const std::string&) { return true; };
    const std::string path = folder_ + "/ablation.h5";
    FileReplacement file(path);
    file.write(bytes_of("x"));
    remove_temporary_files(Folder(folder_), ours);
    file.replace();
    EXPECT_EQ(read_file(path), "x");
    EXPECT_EQ(names(), std::vector<std::string>{"ablation.h5"});
    // The new file is not locked, whoever has it open.
    const Descriptor reader = open_file(path, O_RDWR);
    struct flock whole {};
    whole.l_type = F_WRLCK;
    EXPECT_EQ(::fcntl(reader, F_OFD_GETLK, &whole), 0);
    EXPECT_EQ(whole.l_type, F_UNLCK);
}

/// Process numbers come again: in a container the first is always 1.
TEST_F(FileReplacing, ATakenTemporaryNameIsLeftAlone) {
    const std::string path = folder_ + "/log.h5", taken = folder_ + "/.log.h5.tmp-" + std::to_string(::getpid());
    std::ofstream(taken) << "of another";
    FileReplacement first(path), second(path);
    first.write(bytes_of("first"));
    second.write(bytes_of("second"));
    first.replace();
    EXPECT_EQ(read_file(path), "first");
    second.replace();
    EXPECT_EQ(read_file(path), "second");
    EXPECT_EQ(read_file(taken), "of another");
}

TEST_F(FileReplacing, AFolderThatWasMovedIsNotMistaken) {
    const std::string run = folder_ + "/run", moved = folder_ + "/moved";
    fs::create_directory(run);
    const Folder folder(run);
    write_file_atomically(folder, "log.h5", bytes_of("old"));
    FileReplacement begun(folder, "log.h5");
    begun.write(bytes_of("new"));
    fs::rename(run, moved);
    fs::create_directory(run);
    const std::string told = run + ": the folder was moved to " + moved + " while it was written to";
    EXPECT_EQ(message_of<IoError>([&] { begun.replace(); }).rfind(told, 0), 0U);
    EXPECT_EQ(message_of<IoError>([&] { FileReplacement(folder, "x"); }).rfind(told, 0), 0U);
    EXPECT_TRUE(fs::is_empty(run));
    EXPECT_EQ(read_file(moved + "/log.h5"), "old");
    fs::remove_all(moved);
    EXPECT_NE(message_of<IoError>([&] { folder.require_in_place(); }).find("removed or replaced"), std::string::npos);
}

}  // namespace
}  // namespace headscope::experiments
