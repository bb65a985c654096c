#include "experiments/storage/run_folder.h"

#include <fmt/format.h>

#include <filesystem>
#include <utility>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"

namespace headscope::experiments {

void create_run_folder(const std::string& path) {
    const std::string folder = without_slash(path);
    make_folders(folder_of(folder));
    if (!make_new_folder(folder))
        throw UsageError(
            fmt::format("{}: exists already, and a run is never overwritten; go on with it by `headscope "
                        "resume {}`, or choose another folder with --out",
                        folder, folder));
}

NewRunFolder::NewRunFolder(const std::string& path) : path_(path) { create_run_folder(path); }

NewRunFolder::~NewRunFolder() {
    if (kept_) return;
    std::error_code ignored;
    for (auto name = made_.rbegin(); name != made_.rend(); ++name)
        std::filesystem::remove(path_ + "/" + *name, ignored);  // a folder only when it is empty
    std::filesystem::remove(path_, ignored);
}

RunPaths::RunPaths(std::string folder_path)
    : folder(std::move(folder_path)),
      log(folder + "/log.h5"),
      config(folder + "/config.toml"),
      checkpoints(folder + "/checkpoints") {}

std::string run_folder_of(const std::string& path) {
    const bool is_log = std::filesystem::path(path).filename() == "log.h5" && !std::filesystem::is_directory(path);
    return is_log ? folder_of(path) : path;
}

}  // namespace headscope::experiments
