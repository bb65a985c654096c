#include "experiments/base/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <filesystem>
#include <limits>
#include <new>
#include <system_error>
#include <utility>

#include "experiments/base/available_memory.h"
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

/// What is at a path, other than a regular file.
const char* kind_of(mode_t mode) {
    switch (mode & S_IFMT) {
        case S_IFIFO: return "a FIFO";
        case S_IFCHR:
        case S_IFBLK: return "a device";
        case S_IFSOCK: return "a socket";
        case S_IFDIR: return "a folder";
        default: return "something else";
    }
}

void refuse_unless_regular(const std::string& path, mode_t mode) {
    if (!S_ISREG(mode)) throw IoError(fmt::format("{}: is {}, not a file; name a file", path, kind_of(mode)));
}

bool is_terminal(const std::string& path) {
    const Descriptor file = open_file(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    return file >= 0 && ::isatty(file) != 0;
}

[[noreturn]] void fail_too_large(const std::string& path, std::size_t size, double room) {
    throw IoError(fmt::format("{}: cannot be read: it has {} MB, and there is memory for {:.0f}", path, size >> 20U,
                              std::floor(room / (1 << 20))));
}

/// What has been read so far.
class Input {
public:
    /// `expected`: how many bytes there probably are.
    Input(const std::string& path, std::size_t expected, std::size_t most) : path_(path), most_(most) {
        make_room(expected + least);
    }

    /// As read() of the next bytes. Throws IoError when there are more than `most`.
    ssize_t read_some(int file) {
        if (size_ == bytes_.size()) make_room(size_ + least);
        const ssize_t got = ::read(file, bytes_.data() + size_, bytes_.size() - size_);
        if (got > 0) size_ += static_cast<std::size_t>(got);
        if (size_ > most_)
            throw IoError(fmt::format("{}: goes on after {} MB, which is more than it may have", path_, most_ >> 20U));
        return got;
    }

    bool empty() const { return size_ == 0; }

    std::string take() {
        bytes_.resize(size_);
        return std::move(bytes_);
    }

private:
    static constexpr std::size_t least = 1 << 16;

    void make_room(std::size_t size) {
        try {
            bytes_.resize(size);
        } catch (const std::bad_alloc&) {
            fail_too_large(path_, size, static_cast<double>(size_));
        }
    }

    const std::string& path_;
    std::size_t most_, size_ = 0;
    std::string bytes_;
};

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

void sync_folder(int folder, const std::string& path) {
    const int error = sync_file(folder);
    if (error != 0 && error != EINVAL)  // some file systems cannot sync a folder
        fail_io(path, "cannot be synced to disk", error);
}

namespace {

void sync_folder_at(const std::string& path) {
    const Descriptor file = open_file(path, O_RDONLY | O_DIRECTORY);
    if (file < 0) fail_io(path, "cannot be opened", errno);
    sync_folder(file, path);
}

}  // namespace

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

void require_regular_file(const std::string& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) fail_io(path, "cannot be opened", errno);
    refuse_unless_regular(path, status.st_mode);
}

std::string read_file(const std::string& path) {
    require_regular_file(path);
    const Descriptor file = open_file(path, O_RDONLY | O_NONBLOCK);
    if (file < 0) fail_io(path, "cannot be opened", errno);
    struct stat status {};
    if (::fstat(file, &status) != 0) fail_io(path, "cannot be read", errno);
    refuse_unless_regular(path, status.st_mode);  // it may be another one by now
    const auto size = static_cast<std::size_t>(status.st_size);
    constexpr std::size_t small = 4 << 20;  // for which nobody needs to ask
    const double room = size <= small ? static_cast<double>(small)
                                      : available_memory().value_or(std::numeric_limits<double>::infinity());
    if (static_cast<double>(size) > room) fail_too_large(path, size, room);
    constexpr std::size_t growth = 16 << 20;  // files of /proc say that they are empty, and some have no end
    Input input(path, size, size + growth);
    for (;;) {
        const ssize_t got = input.read_some(file);
        if (got < 0 && errno != EINTR) fail_io(path, "cannot be read", errno);
        if (got == 0) return input.take();
    }
}

std::string read_file_or_pipe(const std::string& path, std::size_t most_bytes) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) fail_io(path, "cannot be opened", errno);
    const bool terminal = S_ISCHR(status.st_mode) && is_terminal(path);
    if (!S_ISFIFO(status.st_mode) && !terminal) refuse_unless_regular(path, status.st_mode);
    const Descriptor file(open_file(path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
    if (file < 0) fail_io(path, "cannot be opened", errno);
    Input input(path, 0, most_bytes);
    bool met = !S_ISFIFO(status.st_mode), alone = false;  // has there been anybody at the other end? was it waited for?
    for (;;) {
        const ssize_t got = input.read_some(file);
        if (got > 0 || (got < 0 && errno == EINTR)) continue;
        if (got < 0 && errno != EAGAIN) fail_io(path, "cannot be read", errno);
        if (got < 0) met = true;  // and has not written yet
        else if (met || !input.empty()) return input.take();
        else if (alone) throw IoError(path + ": is a FIFO that nobody writes to; name a file");
        constexpr int forever = -1, patience = 2000;  // ms
        pollfd end{file, POLLIN, 0};
        const int ready = ::poll(&end, 1, met ? forever : patience);
        alone = ready == 0;
        if (ready > 0) met = true;
    }
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
    sync_folder_at(parent);
}

bool make_new_folder(const std::string& path) {
    if (::mkdir(path.c_str(), 0777) != 0) {
        if (errno == EEXIST) return false;
        fail_io(path, "cannot be made", errno);
    }
    try {
        sync_folder_at(folder_of(path));
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
