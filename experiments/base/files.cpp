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

}  // namespace

std::string folder_of(const std::string& path) {
    const fs::path parent = fs::path(path).parent_path();
    return parent.empty() ? std::string(".") : parent.string();
}

void fail_io(const std::string& path, const char* what, int error) {
    throw IoError(fmt::format("{}: {}: {}{}", path, what, std::generic_category().message(error), mend(error)));
}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
    std::swap(file_, other.file_);
    return *this;
}

Descriptor::~Descriptor() {
    if (file_ >= 0) ::close(file_);
}

int Descriptor::close() { return ::close(std::exchange(file_, -1)); }

Descriptor open_file(const std::string& path, int flags) {
    int file;
    do file = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
    while (file < 0 && errno == EINTR);
    return Descriptor(file);
}

int write_all(int file, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const ssize_t written = ::write(file, bytes.data(), bytes.size());
        if (written < 0 && errno != EINTR) return errno;
        if (written > 0) bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    return 0;
}

int sync_file(int file) {
    int status;
    do status = ::fsync(file);
    while (status != 0 && errno == EINTR);
    return status == 0 ? 0 : errno;
}

void sync_folder(const std::string& folder) {
    const Descriptor file = open_file(folder, O_RDONLY | O_DIRECTORY);
    if (file < 0) fail_io(folder, "cannot be opened", errno);
    const int error = sync_file(file);
    if (error != 0 && error != EINVAL)  // some file systems cannot sync a folder
        fail_io(folder, "cannot be synced to disk", error);
}

void read_at(int file, const std::string& path, std::uint64_t at, std::span<std::byte> bytes) {
    while (!bytes.empty()) {
        const ssize_t got = ::pread(file, bytes.data(), bytes.size(), static_cast<off_t>(at));
        if (got < 0 && errno != EINTR) fail_io(path, "cannot be read", errno);
        if (got == 0) throw IoError(path + ": is shorter than it was");
        if (got <= 0) continue;
        at += static_cast<std::uint64_t>(got);
        bytes = bytes.subspan(static_cast<std::size_t>(got));
    }
}

void read_pieces(int file, const std::string& path, std::uint64_t first, std::uint64_t end,
                 const std::function<void(std::span<const std::byte>)>& use) {
    constexpr std::uint64_t piece = 1 << 20;
    std::vector<std::byte> bytes(static_cast<std::size_t>(std::min(piece, end - first)));
    while (first < end) {
        const std::span<std::byte> part =
            std::span(bytes).first(static_cast<std::size_t>(std::min(piece, end - first)));
        read_at(file, path, first, part);
        use(part);
        first += part.size();
    }
}

FileReplacement::FileReplacement(std::string path)
    : path_(std::move(path)),
      temporary_(fmt::format("{}/.{}.tmp-{}", folder_of(path_), fs::path(path_).filename().string(), ::getpid())),
      file_(open_file(temporary_, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW)) {
    if (file_ < 0) fail_io(path_, "cannot be written", errno);
}

FileReplacement::~FileReplacement() {
    if (!replaced_) ::unlink(temporary_.c_str());
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
    if (file_.close() != 0 && errno != EINTR) fail_io(path_, "cannot be written", errno);
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail_io(path_, "cannot be replaced", errno);
    replaced_ = true;
    sync_folder(folder_of(path_));
}

void write_file_atomically(const std::string& path, std::span<const std::byte> bytes) {
    FileReplacement file(path);
    file.write(bytes);
    file.replace();
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
    const Descriptor file = open_file(path, O_RDONLY);
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
