#include "experiments/base/file_replacement.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <utility>

#include "experiments/base/errors.h"

namespace headscope::experiments {

namespace {

constexpr std::string_view mark = ".tmp-";

// A lock of an open file (F_OFD_SETLK), not flock(): that of HDF5 is a flock(), and would find the new file locked.
struct flock lock_of_all(short type) {
    struct flock whole {};
    whole.l_type = type;
    whole.l_whence = SEEK_SET;
    return whole;
}

/// The process of a temporary name.
pid_t process_of(const std::string& temporary) {
    pid_t process = 0;
    const char* first = temporary.data() + temporary.rfind(mark) + mark.size();
    std::from_chars(first, temporary.data() + temporary.size(), process);
    return process;
}

/// Was a temporary file left behind by a process of this user?
bool is_left_behind(const Folder& folder, const std::string& name) {
    struct stat status {};
    if (::fstatat(folder.descriptor(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) return false;
        folder.fail(name, "cannot be looked at", errno);
    }
    if (!S_ISREG(status.st_mode) || status.st_uid != ::geteuid()) return false;
    const Descriptor file = folder.open(name, O_RDONLY | O_NONBLOCK);
    struct flock found = lock_of_all(F_WRLCK);
    if (file >= 0 && ::fcntl(file, F_OFD_GETLK, &found) == 0) return found.l_type == F_UNLCK;
    return ::kill(process_of(name), 0) != 0 && errno == ESRCH;  // it cannot be read, or its file system has no locks
}

}  // namespace

FileReplacement::FileReplacement(Folder folder, std::string name)
    : folder_(std::move(folder)), name_(std::move(name)), path_(folder_.path_of(name_)) {
    folder_.require_in_place();
    open_new_file();
}

FileReplacement::FileReplacement(const std::string& path)
    : folder_(Folder::of_file(path)), name_(std::filesystem::path(path).filename().string()), path_(path) {
    open_new_file();
}

void FileReplacement::open_new_file() {
    temporary_ = fmt::format(".{}{}{}", name_, mark, ::getpid());
    for (int number = 1; file_ < 0; ++number) {
        file_ = folder_.open(temporary_, O_RDWR | O_CREAT | O_EXCL);
        if (file_ >= 0) break;
        // Process numbers are used again, and each container has its own.
        if (errno != EEXIST || number == 1000) folder_.fail(name_, "cannot be written", errno);
        temporary_ = fmt::format(".{}{}{}-{}", name_, mark, ::getpid(), number);
    }
    struct flock ours = lock_of_all(F_WRLCK);
    ::fcntl(file_, F_OFD_SETLK, &ours);  // without it a file counts by its process, and that is all
}

FileReplacement::~FileReplacement() {
    if (!replaced_) ::unlinkat(folder_.descriptor(), temporary_.c_str(), 0);
}

void FileReplacement::write(std::span<const std::byte> bytes) {
    if (const int error = write_all(file_, bytes)) fail_io(path_, "cannot be written", error);
}

Descriptor FileReplacement::share() const {
    Descriptor shared(::fcntl(file_, F_DUPFD_CLOEXEC, 0));
    if (shared < 0) fail_io(path_, "cannot be opened a second time", errno);
    return shared;
}

void FileReplacement::replace() {
    if (const int error = sync_file(file_)) fail_io(path_, "cannot be synced to disk", error);
    const Descriptor locked = share();  // until it has its name
    if (file_.close() != 0 && errno != EINTR) fail_io(path_, "cannot be written", errno);
    folder_.require_in_place();
    folder_.rename(temporary_, name_);
    replaced_ = true;
    struct flock none = lock_of_all(F_UNLCK);
    ::fcntl(locked, F_OFD_SETLK, &none);
    folder_.sync();
}

void write_file_atomically(const Folder& folder, const std::string& name, std::span<const std::byte> bytes) {
    FileReplacement file(folder, name);
    file.write(bytes);
    file.replace();
}

void write_file_atomically(const std::string& path, std::span<const std::byte> bytes) {
    FileReplacement file(path);
    file.write(bytes);
    file.replace();
}

std::string replaced_by(const std::string& temporary) {
    constexpr std::string_view digits = "0123456789";
    const std::size_t found = temporary.rfind(mark);
    if (!temporary.starts_with('.') || found == std::string::npos || found < 2) return {};
    const std::string number = temporary.substr(found + mark.size());
    const std::size_t end = number.find_first_not_of(digits);
    const bool counted = end != std::string::npos && end > 0 && number[end] == '-' && end + 1 < number.size() &&
                         number.find_first_not_of(digits, end + 1) == std::string::npos;
    if (number.empty() || (end != std::string::npos && !counted)) return {};
    return temporary.substr(1, found - 1);
}

void remove_temporary_files(const Folder& folder, const std::function<bool(const std::string& name)>& ours) {
    for (const std::string& name : folder.list()) {
        const std::string file = replaced_by(name);
        if (!file.empty() && ours(file) && is_left_behind(folder, name)) folder.remove(name);
    }
}

}  // namespace headscope::experiments
