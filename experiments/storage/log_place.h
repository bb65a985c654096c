#pragma once

#include <filesystem>
#include <string>
#include <utility>

#include "experiments/base/folder.h"

namespace headscope::experiments {

/// Where a log is published: a name in a folder that stays the same one, whatever its path leads to meanwhile.
struct LogPlace {
    LogPlace(Folder in, std::string file) : folder(std::move(in)), name(std::move(file)) {}
    /// In the folder that `path` leads to now. Throws IoError.
    LogPlace(const std::string& path)  // NOLINT(google-explicit-constructor): a path is a place
        : folder(Folder::of_file(path)), name(std::filesystem::path(path).filename().string()) {}

    Folder folder;
    std::string name;
};

}  // namespace headscope::experiments
