// A run's folder on disk: what is where in it, and how a new one comes about.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "experiments/storage/run_lock.h"

namespace headscope::experiments {

/// Of the folder of a run's checkpoints in it.
inline constexpr const char* checkpoints_name = "checkpoints";
/// Of its resolved config in it.
inline constexpr const char* config_file_name = "config.toml";

struct RunPaths {
    explicit RunPaths(std::string folder);
    std::string folder, log, config, checkpoints;
};

/// Of its log, and of one that is no run's yet: a fork or a replay gives it its name when all is there.
inline constexpr const char* log_file_name = "log.h5";
inline constexpr const char* unfinished_log_name = "unfinished.h5";

/// The folder of the run that `path` names: itself, or of a file log.h5 the folder that it lies in.
std::string run_folder_of(const std::string& path);

/// Removes what killed processes left in the folder of a run: temporary files of its own files alone.
void remove_temporary_files_of_run(const Folder& run);

/// A new run's folder while it comes about, locked: removed again unless keep() is called, file by file and by name.
/// What this process has not made is never touched, and a folder that holds something else stays.
class NewRunFolder {
public:
    /// Makes `path` and missing parents. `files`: names in it ("checkpoints/start.h5") of all that is made before
    /// keep(). When one of them is unfinished_log_name, it is made at once, and a folder that is there already, holds
    /// one and nothing but `files` was left by a killed process: it is taken over, emptied. Throws UsageError when
    /// there is another one (a run is never overwritten: the message says `headscope resume` or --out), IoError when it
    /// cannot be made.
    NewRunFolder(const std::string& path, std::vector<std::string> files,
                 const std::function<void(const std::string&)>& on_message);
    ~NewRunFolder();
    NewRunFolder(const NewRunFolder&) = delete;
    NewRunFolder& operator=(const NewRunFolder&) = delete;

    const Folder& folder() const { return lock_->folder(); }
    /// It stays. Returns the lock.
    RunLock keep();

private:
    void take_over(const std::string& path);
    void make_mark();
    void remove_files() noexcept;
    void remove_folder() noexcept;

    std::vector<std::string> files_;
    std::optional<RunLock> lock_;
    bool kept_ = false;
};

}  // namespace headscope::experiments
