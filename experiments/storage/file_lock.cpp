#include "experiments/storage/file_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <chrono>
#include <thread>
#include <utility>

#include "experiments/base/errors.h"

namespace headscope::experiments {

namespace {

/// Is it still the file of that name? Whoever had the lock before may have removed it.
bool is_named(const Descriptor& file, const Folder& folder, const std::string& name) {
    struct stat here {};
    struct stat there {};
    return ::fstat(file, &here) == 0 &&
           ::fstatat(folder.descriptor(), name.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 &&
           here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

}  // namespace

FileLock::FileLock(Folder folder, const std::string& name, double seconds)
    : folder_(std::move(folder)), name_(fmt::format(".{}.lock", name)) {
    using Clock = std::chrono::steady_clock;
    const Clock::time_point end =
        Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
    for (;;) {
        if (file_ < 0) file_ = folder_.open(name_, O_RDONLY | O_CREAT);  // another user's will do
        if (file_ < 0) fail_io(folder_.path_of(name), "cannot be locked", errno);
        if (::flock(file_, LOCK_EX | LOCK_NB) != 0) {
            if (errno != EWOULDBLOCK && errno != EINTR) return;
            if (Clock::now() > end)
                throw IoError(
                    fmt::format("{}: another process has been changing it for {:.0f} seconds; end that one, "
                                "then try again",
                                folder_.path_of(name), seconds));
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        } else if (is_named(file_, folder_, name_)) {
            return;
        } else {
            file_ = Descriptor();
        }
    }
}

FileLock::~FileLock() { ::unlinkat(folder_.descriptor(), name_.c_str(), 0); }

}  // namespace headscope::experiments
