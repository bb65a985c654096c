// A run's folder on disk: what is where in it.
#pragma once

#include <string>

namespace headscope::experiments {

/// Makes `path` and missing parents for a new run. Throws UsageError when it exists (a run is never overwritten: the
/// message says `headscope resume` or --out), IoError when it cannot be made.
void create_run_folder(const std::string& path);

struct RunPaths {
    explicit RunPaths(std::string folder);
    std::string folder, log, config, checkpoints;
};

}  // namespace headscope::experiments
