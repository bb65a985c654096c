#include "experiments/storage/log_seal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "experiments/base/sha256.h"
#include "experiments/storage/child_process.h"
#include "experiments/storage/hdf5_overlay.h"
#include "experiments/storage/log_consistency.h"
#include "experiments/storage/log_tail.h"

namespace headscope::experiments {

namespace {

constexpr const char* older_schema_version = "1.0";
constexpr std::string_view seal_start = "\nheadscope log sha256 ";
constexpr std::size_t seal_size = seal_start.size() + 64 + 1;

constexpr const char* damaged = ": damaged: its checksum does not fit its contents";

std::string text_at(const Descriptor& file, const std::string& path, std::uint64_t first, std::uint64_t end) {
    std::string text(static_cast<std::size_t>(end - first), '\0');
    read_at(file, path, first, std::as_writable_bytes(std::span(text)));
    return text;
}

/// Differs when another file has taken the place of `path`. Nothing when there is none.
using FileIdentity = std::optional<std::array<std::uint64_t, 2>>;

FileIdentity identity_of(const std::string& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) return std::nullopt;
    return std::array{static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino)};
}

/// Length of an HDF5 file by its superblock; 0 when that is not of the format that logs have.
std::uint64_t stated_length(std::string_view bytes) {
    constexpr std::size_t version_at = 8, offset_size_at = 13, length_at = 40;
    std::uint64_t length = 0;
    if (bytes.size() < length_at + sizeof length || bytes[version_at] != 0 || bytes[offset_size_at] != sizeof length)
        return 0;
    std::memcpy(&length, bytes.data() + length_at, sizeof length);
    return length;
}

/// Reads a file that nothing vouches for, all of it, where a crash does no harm. Throws IoError.
void read_through(const std::string& path, std::span<const std::byte> image) {
    read_in_child(path, [&] {
        const std::vector<std::string> problems = unreadable_parts(hdf5::File::open_image(image, path));
        if (!problems.empty()) throw IoError(problems.front());
        return std::string();
    });
}

}  // namespace

std::string seal_of(const std::string& sha256) { return fmt::format("{}{}\n", seal_start, sha256); }

void seal_log(std::vector<std::byte>& image) {
    const std::string seal = seal_of(sha256(image));
    const auto bytes = std::as_bytes(std::span(seal));
    image.insert(image.end(), bytes.begin(), bytes.end());
}

hdf5::File open_sealed(const std::string& path, bool writable) {
    const std::string bytes = read_file(path);
    std::span<const std::byte> image = std::as_bytes(std::span(bytes));
    if (is_sealed(bytes)) {
        const std::string_view seal = std::string_view(bytes).substr(bytes.size() - seal_size);
        image = image.first(bytes.size() - seal_size);
        if (seal != seal_of(sha256(image))) throw IoError(path + damaged);
    } else {
        const std::uint64_t length = stated_length(bytes);
        if (length > bytes.size())
            throw IoError(fmt::format("{}: truncated: {} of {} bytes are there", path, bytes.size(), length));
        // Whoever rewrites the file drops the line; a damaged one stays behind.
        if (length > 0 && length < bytes.size())
            throw IoError(path + ": damaged: what follows its HDF5 part is no checksum");
        read_through(path, image);
    }
    return hdf5::File::open_image(image, path, writable);
}

SealedFile open_sealed_file(const std::string& path) {
    SealedFile sealed;
    sealed.file = open_file(path, O_RDONLY);
    struct stat status {};
    if (sealed.file < 0 || ::fstat(sealed.file, &status) != 0) fail_io(path, "cannot be opened", errno);
    const auto size = static_cast<std::uint64_t>(status.st_size);
    const std::string line = text_at(sealed.file, path, size - std::min<std::uint64_t>(size, seal_size), size);
    if (!is_sealed(line)) {
        open_sealed(path);
        sealed.size = size;
        return sealed;
    }
    sealed.size = size - seal_size;
    sealed.sha256 = line.substr(seal_start.size(), seal_size - seal_start.size() - 1);
    if (!is_unchanged(sealed, path)) throw IoError(path + damaged);
    return sealed;
}

bool is_unchanged(const SealedFile& sealed, const std::string& path) {
    Sha256 digest;
    read_pieces(sealed.file, path, 0, sealed.size, [&](std::span<const std::byte> bytes) { digest.add(bytes); });
    return digest.hex() == sealed.sha256 &&
           text_at(sealed.file, path, sealed.size, sealed.size + seal_size) == seal_of(sealed.sha256);
}

void require_readable(const SealedFile& sealed, const std::string& path) {
    read_in_child(path, [&] {
        hdf5::Overlay unchanged(path, sealed.file, sealed.size);
        const std::vector<std::string> problems = unreadable_parts(hdf5::File::open_in(unchanged, path));
        if (!problems.empty()) throw IoError(problems.front());
        return std::string();
    });
}

bool is_sealed(std::string_view bytes) {
    return bytes.size() >= seal_size && bytes.substr(bytes.size() - seal_size).starts_with(seal_start);
}

void require_log(const hdf5::File& file, const std::string& path) {
    if (!file.has_attribute("/", "schema_name") || file.text_attribute("/", "schema_name") != log_schema_name) {
        throw IoError(path + ": is not a log of headscope: attribute schema_name is missing or another");
    }
    const std::string version = file.text_attribute("/", "schema_version");
    if (version != log_schema_version && version != older_schema_version) {
        throw IoError(
            fmt::format("{}: is a log of schema {}, and this program knows {} and {}; use the headscope that wrote it",
                        path, version, older_schema_version, log_schema_version));
    }
}

void add_tail(hdf5::File& file, const std::string& path) {
    if (!file.has_attribute("/", "publication")) return;
    std::int64_t until = -1;
    read_tail(path, file.integer_attribute("/", "publication"), [&](std::span<const std::byte> bytes) {
        const hdf5::File rows = hdf5::File::open_image(bytes, tail_path(path));
        const std::int64_t now = rows.integer_attribute("/", "complete_until");
        const bool events_alone = rows.children("/") == std::vector<std::string>{"events"};
        if (now < until || (now == until && !events_alone))
            throw IoError(
                fmt::format("{}: holds rows of the steps before {} a second time; another program has changed "
                            "it",
                            tail_path(path), now));
        until = now;
        append_rows(file, rows);
        file.set_attribute("/", "complete_until", rows.integer_attribute("/", "complete_until"));
    });
}

hdf5::File open_log(const std::string& path) {
    // A log that is published meanwhile takes the tail in, which then is gone.
    constexpr int most_tries = 5;
    for (int tries = 1;; ++tries) {
        const FileIdentity before = identity_of(path);
        const bool has_tail = path_exists(tail_path(path));
        hdf5::File file = open_sealed(path, has_tail);
        require_log(file, path);
        if (has_tail) add_tail(file, path);
        if (identity_of(path) == before || tries == most_tries) return file;
    }
}

}  // namespace headscope::experiments
