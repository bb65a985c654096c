#include "experiments/storage/run_folder.h"

#include <fmt/format.h>

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

RunPaths::RunPaths(std::string folder_path)
    : folder(std::move(folder_path)),
      log(folder + "/log.h5"),
      config(folder + "/config.toml"),
      checkpoints(folder + "/checkpoints") {}

}  // namespace headscope::experiments
