#include "experiments/storage/run_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <sstream>
#include <system_error>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"

namespace headscope::experiments {

namespace {

/// The number of the process with the lock; empty when the kernel does not tell: there is none, or it is on another
/// machine or in another container.
std::string owner_of(int folder) {
    struct stat status {};
    if (::fstat(folder, &status) != 0) return {};
    const std::string wanted =
        fmt::format("{:02x}:{:02x}:{}", major(status.st_dev), minor(status.st_dev), status.st_ino);
    std::ifstream locks("/proc/locks");  // "7: FLOCK  ADVISORY  WRITE 1234 fe:00:11043022 0 EOF"
    for (std::string line; std::getline(locks, line);) {
        std::string number, kind, enforcement, access, process, file;
        std::istringstream(line) >> number >> kind >> enforcement >> access >> process >> file;
        if (kind == "FLOCK" && file == wanted) return process;
    }
    return {};
}

/// The whole file, whoever asks or holds.
struct flock mark(short type) {
    struct flock whole {};
    whole.l_type = type;
    whole.l_whence = SEEK_SET;
    return whole;
}

/// Is it on a file system whose files other machines may have open? Their locks are not always seen.
bool is_shared(int folder) {
    constexpr std::array<std::uint32_t, 13> shared{
        0x6969,      // NFS
        0x517B,      // SMB
        0xFF534D42,  // CIFS
        0xFE534D42,  // SMB2
        0x65735546,  // FUSE, virtiofs
        0x01021997,  // 9P
        0x00C36400,  // Ceph
        0x5346414F,  // AFS
        0x0BD00BD0,  // Lustre
        0x47504653,  // GPFS
        0x19830326,  // BeeGFS
        0x01161970,  // GFS2
        0x7461636F   // OCFS2
    };
    struct statfs status {};
    if (::fstatfs(folder, &status) != 0) return true;
    return std::ranges::find(shared, static_cast<std::uint32_t>(status.f_type)) != shared.end();
}

std::string reason(int error) { return std::generic_category().message(error); }

}  // namespace

RunLock::RunLock(const std::string& path, const std::function<void(const std::string&)>& on_message) : folder_(path) {
    if (::flock(folder_.descriptor(), LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) {
            const std::string owner = owner_of(folder_.descriptor());
            throw UsageError(fmt::format("{} is in use by {}; wait for it, or stop it", path,
                                         owner.empty() ? "another process" : "process " + owner));
        }
        if (on_message)  // some network file systems
            on_message(
                fmt::format("{} cannot be locked ({}); see to it that nothing else trains in it", path, reason(errno)));
    }
    struct flock owned = mark(F_RDLCK);
    ::fcntl(folder_.descriptor(), F_OFD_SETLK, &owned);  // without it readers know less, and that is all
}

std::optional<bool> is_locked(const std::string& folder) {
    const int file = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file < 0) fail_io(folder, "cannot be opened", errno);
    struct flock found = mark(F_WRLCK);  // what would be in its way?
    const bool answered = ::fcntl(file, F_OFD_GETLK, &found) == 0;
    std::optional<bool> locked;
    // An owner whose file system or version has no marks is in the kernel's list, if that shows it.
    if ((answered && found.l_type != F_UNLCK) || !owner_of(file).empty()) locked = true;
    else if (answered && !is_shared(file)) locked = false;
    ::close(file);
    return locked;
}

}  // namespace headscope::experiments
