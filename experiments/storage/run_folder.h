// A run's folder on disk: what is where in it.
#pragma once

#include <string>
#include <vector>

namespace headscope::experiments {

/// Makes `path` and missing parents for a new run. Throws UsageError when it exists (a run is never overwritten: the
/// message says `headscope resume` or --out), IoError when it cannot be made.
void create_run_folder(const std::string& path);

/// A run's folder while it comes about: removed again unless keep() is called, file by file and by name. What this
/// process has not made is never touched, and a folder that holds something else stays.
class NewRunFolder {
public:
    /// Makes the folder. Throws as create_run_folder() does.
    explicit NewRunFolder(const std::string& path);
    ~NewRunFolder();
    NewRunFolder(const NewRunFolder&) = delete;
    NewRunFolder& operator=(const NewRunFolder&) = delete;

    /// A file or folder ("checkpoints") below it that is about to be made.
    void will_make(const std::string& name) { made_.push_back(name); }
    void keep() { kept_ = true; }

private:
    std::string path_;
    std::vector<std::string> made_;
    bool kept_ = false;
};

struct RunPaths {
    explicit RunPaths(std::string folder);
    std::string folder, log, config, checkpoints;
};

/// The folder of the run that `path` names: itself, or of a file log.h5 the folder that it lies in.
std::string run_folder_of(const std::string& path);

}  // namespace headscope::experiments
