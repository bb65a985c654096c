#include "experiments/base/available_memory.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>

#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments {
namespace {

/// A file system of a few files.
class AvailableMemory : public ::testing::Test {
protected:
    void write(const std::string& path, const std::string& text) {
        const std::filesystem::path file = root() + path;
        std::filesystem::create_directories(file.parent_path());
        std::ofstream(file) << text;
    }
    void SetUp() override {
        write("/proc/meminfo", "MemTotal:       16000000 kB\nMemFree:         100 kB\nMemAvailable:    8000000 kB\n");
    }
    std::string root() const { return folder_.path(); }
    double available() const { return *available_memory(root()); }

private:
    TemporaryFolder folder_;
};

constexpr double machine = 8000000 * 1024.0;

TEST_F(AvailableMemory, IsThatOfTheMachineWithoutLimits) { EXPECT_EQ(available(), machine); }

TEST_F(AvailableMemory, IsUnknownWhereNothingTells) {
    std::filesystem::remove(root() + "/proc/meminfo");
    EXPECT_FALSE(available_memory(root()));
}

TEST_F(AvailableMemory, HeedsTheTightestGroupOfVersion2) {
    write("/proc/self/cgroup", "0::/user.slice/job/step\n");
    write("/proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n");
    const std::string top = "/sys/fs/cgroup/user.slice";
    write(top + "/job/step/memory.max", "max\n");
    write(top + "/job/step/memory.current", "500\n");
    EXPECT_EQ(available(), machine);
    write(top + "/memory.max", "4000000\n");
    write(top + "/memory.current", "1000000\n");
    EXPECT_EQ(available(), 3000000);
    write(top + "/job/memory.max", "2000000\n");
    write(top + "/job/memory.current", "700000\n");
    write(top + "/job/memory.stat", "anon 1\ninactive_anon 7\ninactive_file 600000\nactive_file 5\n");
    EXPECT_EQ(available(), 1900000);
    write(top + "/job/step/memory.max", "400\n");
    EXPECT_EQ(available(), 0);  // less than is in use
}

TEST_F(AvailableMemory, HeedsGroupsOfVersion1) {
    write("/proc/self/cgroup", "5:devices:/\n4:cpu,memory:/batch/17\n0::/\n");
    write("/proc/self/mountinfo",
          "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpuacct\n"
          "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,cpu,memory\n"
          "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n");
    const std::string group = "/sys/fs/cgroup/memory/batch/17";
    write(group + "/memory.limit_in_bytes", "9223372036854771712\n");
    write(group + "/memory.usage_in_bytes", "12345\n");
    EXPECT_EQ(available(), machine);
    write(group + "/memory.limit_in_bytes", "1000000\n");
    write(group + "/memory.stat", "cache 7\ntotal_inactive_file 2345\n");
    EXPECT_EQ(available(), 990000);
    write("/sys/fs/cgroup/memory/batch/memory.limit_in_bytes", "500000\n");
    EXPECT_EQ(available(), 500000);
}

TEST_F(AvailableMemory, FindsTheGroupInAContainer) {
    // The list names the group as the host does, and the mount begins with it.
    write("/proc/self/cgroup", "0::/docker/abc/inner\n");
    write("/proc/self/mountinfo", "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
    write("/sys/fs/cgroup/memory.max", "5000000\n");
    EXPECT_EQ(available(), 5000000);
    write("/sys/fs/cgroup/inner/memory.max", "3000000\n");
    EXPECT_EQ(available(), 3000000);
}

TEST_F(AvailableMemory, HeedsTheLimitsOfTheProcess) {
    for (const auto kind : {RLIMIT_AS, RLIMIT_DATA}) {
        rlimit before{};
        getrlimit(kind, &before);
        const rlimit tight{3UL << 30U, before.rlim_max};
        setrlimit(kind, &tight);
        const double room = available();
        setrlimit(kind, &before);
        EXPECT_LT(room, 3e9 * 1.08);
        EXPECT_GT(room, 2e9);
    }
}

}  // namespace
}  // namespace headscope::experiments
