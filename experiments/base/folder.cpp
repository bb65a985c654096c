#include "experiments/base/folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "experiments/base/errors.h"

namespace headscope::experiments {

Folder::Folder(std::string path, Descriptor file, std::shared_ptr<const Folder> above)
    : path_(std::move(path)), file_(std::make_shared<Descriptor>(std::move(file))), above_(std::move(above)) {}

Folder::Folder(std::string path) : Folder(path, open_file(path, O_RDONLY | O_DIRECTORY)) {
    if (*file_ < 0) fail_io(path_, "cannot be opened", errno);
}

Folder Folder::of_file(const std::string& path) {
    const std::string folder = folder_of(path);
    Descriptor file = open_file(folder, O_RDONLY | O_DIRECTORY);
    if (file < 0) fail_io(path, "cannot be written", errno);
    return {folder, std::move(file)};
}

std::optional<Folder> Folder::find_subfolder(const std::string& name) const {
    Descriptor file = open(name, O_RDONLY | O_DIRECTORY);
    if (file >= 0) return Folder(path_of(name), std::move(file), std::make_shared<const Folder>(*this));
    if (errno == ENOENT) return std::nullopt;
    if (errno != ELOOP && errno != ENOTDIR) fail(name, "cannot be opened", errno);
    struct stat status {};
    const bool link =
        ::fstatat(descriptor(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(status.st_mode);
    throw IoError(fmt::format("{}: {}; put the folder itself there", path_of(name),
                              link ? "is a link, and nothing is written through one" : "is no folder"));
}

Folder Folder::subfolder(const std::string& name) const {
    if (const auto found = find_subfolder(name)) return *found;
    if (::mkdirat(descriptor(), name.c_str(), 0777) == 0) sync();
    else if (errno != EEXIST) fail(name, "cannot be made", errno);
    if (const auto made = find_subfolder(name)) return *made;
    fail(name, "cannot be opened", ENOENT);
}

bool Folder::is_in_place() const {
    struct stat here {};
    struct stat there {};
    if (::fstat(descriptor(), &here) != 0) fail_io(path_, "cannot be looked at", errno);
    if (::stat(path_.c_str(), &there) != 0) {
        if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) return false;
        fail_io(path_, "cannot be looked at", errno);
    }
    return here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

void Folder::require_in_place() const {
    if (above_ != nullptr) above_->require_in_place();
    if (is_in_place()) return;
    const std::optional<std::string> now = place();
    throw IoError(fmt::format("{}: the folder was {} while it was written to; nothing more is written", path_,
                              now ? "moved to " + *now : "removed or replaced"));
}

void Folder::fail(const std::string& name, const char* what, int error) const {
    if (error == ENOENT) require_in_place();
    fail_io(path_of(name), what, error);
}

std::optional<std::string> Folder::place() const {
    std::error_code error;
    const std::string now =
        std::filesystem::read_symlink(fmt::format("/proc/self/fd/{}", descriptor()), error).string();
    struct stat here {};
    struct stat there {};
    const bool same = !error && ::fstat(descriptor(), &here) == 0 && ::stat(now.c_str(), &there) == 0 &&
                      here.st_dev == there.st_dev && here.st_ino == there.st_ino;
    return same ? std::optional(now) : std::nullopt;
}

Descriptor Folder::open(const std::string& name, int flags) const {
    int file;
    do file = ::openat(descriptor(), name.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, 0666);
    while (file < 0 && errno == EINTR);
    return Descriptor(file);
}

std::vector<std::string> Folder::list() const {
    Descriptor own = open(".", O_RDONLY | O_DIRECTORY);  // the list has a position and a descriptor of its own
    if (own < 0) fail_io(path_, "cannot be listed", errno);
    const std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(own), ::closedir);
    if (entries == nullptr) fail_io(path_, "cannot be listed", errno);
    own.release();
    std::vector<std::string> names;
    for (;;) {
        errno = 0;
        const dirent* entry = ::readdir(entries.get());
        if (entry == nullptr && errno != 0) fail_io(path_, "cannot be listed", errno);
        if (entry == nullptr) break;
        const std::string name = entry->d_name;
        if (name != "." && name != "..") names.push_back(name);
    }
    std::sort(names.begin(), names.end());
    return names;
}

void Folder::rename(const std::string& from, const std::string& to) const {
    if (::renameat(descriptor(), from.c_str(), descriptor(), to.c_str()) != 0) fail(to, "cannot be replaced", errno);
}

bool Folder::remove(const std::string& name) const {
    if (::unlinkat(descriptor(), name.c_str(), 0) == 0) return true;
    if (errno != ENOENT) fail(name, "cannot be removed", errno);
    return false;
}

void Folder::sync() const { sync_folder(descriptor(), path_); }

}  // namespace headscope::experiments
