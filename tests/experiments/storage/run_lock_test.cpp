#include "experiments/storage/run_lock.h"

#include <gtest/gtest.h>
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
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    EXPECT_EQ(refusal(temporary.path()), "taken");
    ::close(ready[0]);
    ::close(ready[1]);
}

}  // namespace
}  // namespace headscope::experiments
