#include "experiments/storage/log_seal.h"

#include <fmt/format.h>

#include <span>
#include <string_view>

#include "experiments/errors.h"
#include "experiments/storage/run_folder.h"

namespace headscope {

namespace {

constexpr std::string_view seal_start = "\nheadscope log sha256 ";
constexpr std::size_t seal_size = seal_start.size() + 64 + 1;

std::string seal_of(std::span<const std::byte> image) { return fmt::format("{}{}\n", seal_start, sha256(image)); }

}  // namespace

void seal_log(std::vector<std::byte>& image) {
    const std::string seal = seal_of(image);
    const auto bytes = std::as_bytes(std::span(seal));
    image.insert(image.end(), bytes.begin(), bytes.end());
}

hdf5::File open_log(const std::string& path, bool writable) {
    const std::string bytes = read_file(path);
    std::span<const std::byte> image = std::as_bytes(std::span(bytes));
    if (bytes.size() >= seal_size) {
        const std::string_view seal = std::string_view(bytes).substr(bytes.size() - seal_size);
        const auto sealed = image.first(bytes.size() - seal_size);
        if (seal.starts_with(seal_start)) {
            if (seal != seal_of(sealed)) throw IoError(path + ": damaged: its checksum does not fit its contents");
            image = sealed;
        }
    }
    hdf5::File file = hdf5::File::open_image(image, path, writable);
    if (!file.has_attribute("/", "schema_name") || file.text_attribute("/", "schema_name") != log_schema_name) {
        throw IoError(path + ": is not a log of headscope: attribute schema_name is missing or another");
    }
    const std::string version = file.text_attribute("/", "schema_version");
    if (version != log_schema_version) {
        throw IoError(
            fmt::format("{}: is a log of schema {}, and this program knows {}; use the headscope that wrote it", path,
                        version, log_schema_version));
    }
    return file;
}

}  // namespace headscope
