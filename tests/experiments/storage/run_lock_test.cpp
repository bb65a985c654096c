#include "experiments/storage/run_lock.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <optional>

#include "experiments/base/errors.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments {
namespace {

std::string refusal(const std::string& folder) {
    try {
        const RunLock lock(folder, {});
    } catch (const UsageError& error) {
        return error.what();
    }
    return "taken";
}

TEST(RunLock, IsOneProcessesUntilItsEnd) {
    const TemporaryFolder temporary;
    const std::string folder = temporary.path();
    std::optional<RunLock> lock;
    lock.emplace(folder, nullptr);
    EXPECT_EQ(refusal(folder),
              folder + " is in use by process " + std::to_string(::getpid()) + "; wait for it, or stop it");
    const TemporaryFolder another;
    EXPECT_EQ(refusal(another.path()), "taken");
    const RunLock beside(another.path(), nullptr);
    const std::string other = another.path() + " is in use by process " + std::to_string(::getpid());
    EXPECT_TRUE(refusal(another.path()).starts_with(other));
    EXPECT_FALSE(refusal(folder).starts_with(other));
    lock.reset();
    EXPECT_EQ(refusal(folder), "taken");
    EXPECT_TRUE(std::filesystem::is_empty(folder));
    EXPECT_THROW(RunLock(folder + "/missing", nullptr), IoError);
}

TEST(RunLock, LookingTakesNoLock) {
    const TemporaryFolder temporary;
    const std::string folder = temporary.path();
    EXPECT_EQ(is_locked(folder), false);
    {
        const RunLock lock(folder, nullptr);
        EXPECT_EQ(is_locked(folder), true);
        EXPECT_EQ(is_locked(folder), true);
        EXPECT_NE(refusal(folder), "taken");
        const TemporaryFolder another;
        EXPECT_EQ(is_locked(another.path()), false);
    }
    EXPECT_EQ(is_locked(folder), false);
    EXPECT_EQ(refusal(folder), "taken");
    EXPECT_THROW(is_locked(folder + "/missing"), IoError);
}

// An earlier version holds the lock alone.
TEST(RunLock, IsSeenWithoutTheMarkToo) {
    const TemporaryFolder temporary;
    const int file = ::open(temporary.path().c_str(), O_RDONLY | O_DIRECTORY);
    ASSERT_EQ(::flock(file, LOCK_EX | LOCK_NB), 0);
    EXPECT_EQ(is_locked(temporary.path()), true);
    ::close(file);
    EXPECT_EQ(is_locked(temporary.path()), false);
}

TEST(RunLock, GoesWithAKilledOwner) {
    const TemporaryFolder temporary;
    int ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        const RunLock lock(temporary.path(), nullptr);
        if (::write(ready[1], "x", 1) == 1) ::pause();
        ::_exit(1);
    }
    char byte = 0;
    ASSERT_EQ(::read(ready[0], &byte, 1), 1);
    EXPECT_NE(refusal(temporary.path()).find("process " + std::to_string(child)), std::string::npos);
    EXPECT_EQ(is_locked(temporary.path()), true);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    EXPECT_EQ(is_locked(temporary.path()), false);
    EXPECT_EQ(refusal(temporary.path()), "taken");
    ::close(ready[0]);
    ::close(ready[1]);
}

}  // namespace
}  // namespace headscope::experiments
