#include "experiments/storage/log_seal.h"

#include <fmt/format.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "experiments/base/sha256.h"
#include "experiments/storage/child_process.h"
#include "experiments/storage/log_consistency.h"

namespace headscope::experiments {

namespace {

constexpr const char* older_schema_version = "1.0";
constexpr std::string_view seal_start = "\nheadscope log sha256 ";
constexpr std::size_t seal_size = seal_start.size() + 64 + 1;

std::string seal_of(std::span<const std::byte> image) { return fmt::format("{}{}\n", seal_start, sha256(image)); }

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

void seal_log(std::vector<std::byte>& image) {
    const std::string seal = seal_of(image);
    const auto bytes = std::as_bytes(std::span(seal));
    image.insert(image.end(), bytes.begin(), bytes.end());
}

hdf5::File open_sealed(const std::string& path, bool writable) {
    const std::string bytes = read_file(path);
    std::span<const std::byte> image = std::as_bytes(std::span(bytes));
    if (is_sealed(bytes)) {
        const std::string_view seal = std::string_view(bytes).substr(bytes.size() - seal_size);
        image = image.first(bytes.size() - seal_size);
        if (seal != seal_of(image)) throw IoError(path + ": damaged: its checksum does not fit its contents");
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

bool is_sealed(std::string_view bytes) {
    return bytes.size() >= seal_size && bytes.substr(bytes.size() - seal_size).starts_with(seal_start);
}

hdf5::File open_log(const std::string& path, bool writable) {
    hdf5::File file = open_sealed(path, writable);
    if (!file.has_attribute("/", "schema_name") || file.text_attribute("/", "schema_name") != log_schema_name) {
        throw IoError(path + ": is not a log of headscope: attribute schema_name is missing or another");
    }
    const std::string version = file.text_attribute("/", "schema_version");
    if (version != log_schema_version && version != older_schema_version) {
        throw IoError(
            fmt::format("{}: is a log of schema {}, and this program knows {} and {}; use the headscope that wrote it",
                        path, version, older_schema_version, log_schema_version));
    }
    return file;
}

}  // namespace headscope::experiments
