// Files and folders by their paths, and calls of the operating system with their errors. file_replacement.h is what
// writes files; the tail of a log (log_tail.h) alone grows in place. What is read is a regular file of a bounded size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace headscope::experiments {

/// An open file of the operating system; closed with this.
class Descriptor {
public:
    Descriptor() = default;
    explicit Descriptor(int file) : file_(file) {}
    Descriptor(Descriptor&& other) noexcept : file_(std::exchange(other.file_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept;
    ~Descriptor();
    operator int() const { return file_; }
    /// Leaves it to the caller to close.
    int release() { return std::exchange(file_, -1); }
    /// 0, or -1 and errno. Linux closes the descriptor even when it answers EINTR.
    int close();

private:
    int file_ = -1;
};

/// open(2), again on EINTR, closed in child processes; negative and errno when it fails.
Descriptor open_file(const std::string& path, int flags);

/// IoError "path: what: reason; mend". `error`: an errno.
[[noreturn]] void fail_io(const std::string& path, const char* what, int error);

/// Calls `use` with the bytes from `first` to `end` of a file, piece by piece. Throws IoError, with `path` as its name.
void read_pieces(int file, const std::string& path, std::uint64_t first, std::uint64_t end,
                 const std::function<void(std::span<const std::byte>)>& use);
/// Fills `bytes` from position `at` of a file. Throws IoError, also when the file ends before.
void read_at(int file, const std::string& path, std::uint64_t at, std::span<std::byte> bytes);
/// Writes all bytes; 0 or an errno.
int write_all(int file, std::span<const std::byte> bytes);
/// fsync(2), again on EINTR; 0 or an errno.
int sync_file(int file);
/// Makes names in an open folder last: a rename or a new file survives a power cut only when its folder is on disk as
/// well. Throws IoError, with `path` as its name.
void sync_folder(int folder, const std::string& path);

/// Throws IoError when there is something at `path` that is no regular file: a FIFO, device or socket would be waited
/// for, or never end. Nothing is opened for that, which would tell whoever writes to a FIFO.
void require_regular_file(const std::string& path);

/// Whole file. Throws IoError, also when it is no regular file, or larger than the memory that is left.
std::string read_file(const std::string& path);

/// The same, of at most `most_bytes`, from what may be a pipe or a terminal instead: `headscope run <(make_config)`,
/// /dev/stdin. Waits for whoever has the pipe open for writing, and when nobody comes for 2 seconds, throws.
std::string read_file_or_pipe(const std::string& path, std::size_t most_bytes);

/// False only when there is nothing: throws IoError when the disk or the permissions do not let us know, for what
/// cannot be seen is not to be taken for missing.
bool path_exists(const std::string& path);

/// Names of what is in a folder, sorted; none when there is no such folder. Throws IoError when it cannot be listed.
std::vector<std::string> list_folder(const std::string& path);

/// Makes a folder and its missing parents, each of them on disk before the next. Throws IoError.
void make_folders(const std::string& path);

/// Makes a new folder and syncs its parent, which exists. Returns false, and changes nothing, when there is something
/// of that name. Throws IoError.
bool make_new_folder(const std::string& path);

/// The folder that a path lies in; "." when it names none.
std::string folder_of(const std::string& path);

/// "runs/a/" -> "runs/a".
std::string without_slash(std::string folder);

}  // namespace headscope::experiments
