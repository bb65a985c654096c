#include "experiments/tasks/token_values.h"

#include <fmt/format.h>

#include <filesystem>
#include <limits>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"

namespace headscope::experiments {

void require_tokens_file(const std::string& path, const std::string& datasets) {
    namespace fs = std::filesystem;
    std::error_code ignored;
    const fs::file_status status = fs::status(path, ignored);
    if (status.type() == fs::file_type::not_found)
        throw IoError(fmt::format("tokens: {} does not exist; name an HDF5 file with {}", path, datasets));
    if (status.type() == fs::file_type::directory)
        throw IoError(fmt::format("tokens: {} is a folder; name an HDF5 file with {}", path, datasets));
    require_regular_file(path);
}

std::string token_text(std::int64_t value) {
    using Limits = std::numeric_limits<std::int64_t>;
    return std::to_string(value) + (value == Limits::max() ? " or more" : value == Limits::min() ? " or less" : "");
}

}  // namespace headscope::experiments
