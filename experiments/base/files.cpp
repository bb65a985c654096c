#include "experiments/base/files.h"

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

namespace fs = std::filesystem;

namespace {

const char* mend(int error) {
    switch (error) {
        case ENOSPC:
        case EDQUOT: return "; free some space; a run that had begun goes on with `headscope resume`";
        case EFBIG: return "; raise the limit on file sizes (ulimit -f)";
        case EACCES:
        case EPERM: return "; change the permissions or choose another folder";
        case EROFS: return "; choose a folder on another file system";
        case ENOENT:
        case ENOTDIR: return "; check the path";
        case EISDIR: return "; a folder is in the way";
        default: return "";
    }
}

int open_file(const std::string& path, int flags) {
    int file;
    do file = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
    while (file < 0 && errno == EINTR);
    return file;
}

class Descriptor {
public:
    explicit Descriptor(int file) : file_(file) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() {
        if (file_ >= 0) ::close(file_);
    }
    operator int() const { return file_; }
    /// Linux closes the descriptor even when it answers EINTR.
    int close() { return ::close(std::exchange(file_, -1)); }

private:
    int file_;
};

/// Removes the file unless it has been renamed.
struct Temporary {
    std::string path;
    bool renamed = false;
    ~Temporary() {
        if (!renamed) ::unlink(path.c_str());
    }
};

// 0 or errno.
int write_all(int file, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const ssize_t written = ::write(file, bytes.data(), bytes.size());
        if (written < 0 && errno != EINTR) return errno;
        if (written > 0) bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    return 0;
}

int sync(int file) {
    int status;
    do status = ::fsync(file);
    while (status != 0 && errno == EINTR);
    return status == 0 ? 0 : errno;
}

// A rename lasts through a power cut only when its folder is on disk as well. Some file systems cannot sync a folder.
void sync_folder(const std::string& folder) {
    const Descriptor file(open_file(folder, O_RDONLY | O_DIRECTORY));
    if (file < 0) fail_io(folder, "cannot be opened", errno);
    const int error = sync(file);
    if (error != 0 && error != EINVAL) fail_io(folder, "cannot be synced to disk", error);
}

}  // namespace

std::string folder_of(const std::string& path) {
    const fs::path parent = fs::path(path).parent_path();
    return parent.empty() ? std::string(".") : parent.string();
}

void fail_io(const std::string& path, const char* what, int error) {
    throw IoError(fmt::format("{}: {}: {}{}", path, what, std::generic_category().message(error), mend(error)));
}

void write_file_atomically(const std::string& path, std::span<const std::byte> bytes) {
    const std::string folder = folder_of(path);
    Temporary temporary{fmt::format("{}/.{}.tmp-{}", folder, fs::path(path).filename().string(), ::getpid())};
    Descriptor file(open_file(temporary.path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW));
    if (file < 0) fail_io(path, "cannot be written", errno);
    if (const int error = write_all(file, bytes)) fail_io(path, "cannot be written", error);
    if (const int error = sync(file)) fail_io(path, "cannot be synced to disk", error);
    if (file.close() != 0 && errno != EINTR) fail_io(path, "cannot be written", errno);
    if (::rename(temporary.path.c_str(), path.c_str()) != 0) fail_io(path, "cannot be replaced", errno);
    temporary.renamed = true;
    sync_folder(folder);
}

void remove_temporary_files(const std::string& folder) {
    for (const std::string& name : list_folder(folder)) {
        const std::size_t mark = name.rfind(".tmp-");
        if (name[0] != '.' || mark == std::string::npos) continue;
        const std::string process = name.substr(mark + 5);
        if (process.empty() || process.find_first_not_of("0123456789") != std::string::npos) continue;
        const std::string path = folder + "/" + name;
        if (::unlink(path.c_str()) != 0) fail_io(path, "cannot be removed", errno);
    }
}

bool path_exists(const std::string& path) {
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (status.type() == fs::file_type::none) fail_io(path, "cannot be looked at", error.value());
    return status.type() != fs::file_type::not_found;
}

std::vector<std::string> list_folder(const std::string& path) {
    std::vector<std::string> names;
    std::error_code error;
    fs::directory_iterator entry(path, error);
    for (; !error && entry != fs::directory_iterator(); entry.increment(error))
        names.push_back(entry->path().filename().string());
    if (error && error != std::errc::no_such_file_or_directory) fail_io(path, "cannot be listed", error.value());
    std::sort(names.begin(), names.end());
    return names;
}

std::string read_file(const std::string& path) {
    const Descriptor file(open_file(path, O_RDONLY));
    if (file < 0) fail_io(path, "cannot be opened", errno);
    struct stat status {};
    if (::fstat(file, &status) != 0) fail_io(path, "cannot be read", errno);
    std::string bytes(static_cast<std::size_t>(status.st_size), '\0');
    std::size_t size = 0;
    for (;;) {  // to the end of the file rather than to st_size, which is 0 for a pipe
        if (size == bytes.size()) bytes.resize(size + (1 << 16));
        const ssize_t got = ::read(file, bytes.data() + size, bytes.size() - size);
        if (got < 0 && errno != EINTR) fail_io(path, "cannot be read", errno);
        if (got == 0) break;
        if (got > 0) size += static_cast<std::size_t>(got);
    }
    bytes.resize(size);
    return bytes;
}

void make_folders(const std::string& path) {
    std::error_code error;
    if (fs::is_directory(path, error)) return;
    const std::string parent = folder_of(path);
    if (parent != path) make_folders(parent);
    if (::mkdir(path.c_str(), 0777) != 0) {
        if (errno != EEXIST) fail_io(path, "cannot be made", errno);
        if (!fs::is_directory(path, error)) fail_io(path, "cannot be made", ENOTDIR);
        return;  // another process was quicker
    }
    sync_folder(parent);
}

bool make_new_folder(const std::string& path) {
    if (::mkdir(path.c_str(), 0777) != 0) {
        if (errno == EEXIST) return false;
        fail_io(path, "cannot be made", errno);
    }
    try {
        sync_folder(folder_of(path));
    } catch (...) {
        ::rmdir(path.c_str());
        throw;
    }
    return true;
}

std::string without_slash(std::string folder) {
    while (folder.size() > 1 && folder.ends_with('/')) folder.pop_back();
    return folder;
}

}  // namespace headscope::experiments
