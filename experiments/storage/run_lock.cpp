#include "experiments/storage/run_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <sstream>
#include <system_error>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"

namespace headscope::experiments {

namespace {

/// "process 1234"; "another process" when the kernel does not tell: it is on another machine or in another container.
std::string owner_of(int folder) {
    struct stat status {};
    if (::fstat(folder, &status) != 0) return "another process";
    const std::string wanted =
        fmt::format("{:02x}:{:02x}:{}", major(status.st_dev), minor(status.st_dev), status.st_ino);
    std::ifstream locks("/proc/locks");  // "7: FLOCK  ADVISORY  WRITE 1234 fe:00:11043022 0 EOF"
    for (std::string line; std::getline(locks, line);) {
        std::string number, kind, enforcement, access, process, file;
        std::istringstream(line) >> number >> kind >> enforcement >> access >> process >> file;
        if (kind == "FLOCK" && file == wanted) return "process " + process;
    }
    return "another process";
}

std::string reason(int error) { return std::generic_category().message(error); }

}  // namespace

RunLock::RunLock(const std::string& folder, const std::function<void(const std::string&)>& on_message)
    : file_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    if (file_ < 0) fail_io(folder, "cannot be opened", errno);
    if (::flock(file_, LOCK_EX | LOCK_NB) == 0) return;
    if (errno == EWOULDBLOCK) {
        const std::string owner = owner_of(file_);
        ::close(file_);
        throw UsageError(fmt::format("{} is in use by {}; wait for it, or stop it", folder, owner));
    }
    if (on_message)  // some network file systems
        on_message(
            fmt::format("{} cannot be locked ({}); see to it that nothing else trains in it", folder, reason(errno)));
}

RunLock::~RunLock() { ::close(file_); }

}  // namespace headscope::experiments
