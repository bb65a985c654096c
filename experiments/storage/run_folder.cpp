#include "experiments/storage/run_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "experiments/base/errors.h"
#include "experiments/base/file_replacement.h"
#include "experiments/base/files.h"
#include "experiments/storage/checkpoint.h"

namespace headscope::experiments {

namespace {

constexpr std::string_view in_checkpoints = "checkpoints/";

bool is_one_of(const std::vector<std::string>& names, const std::string& name) {
    return std::ranges::find(names, name) != names.end();
}

[[noreturn]] void refuse_existing(const std::string& folder) {
    const bool is_run = path_exists(folder) && path_exists(RunPaths(folder).config);
    throw UsageError(
        fmt::format("{}: exists already, and a run is never overwritten; {}choose another folder with --out", folder,
                    is_run ? fmt::format("go on with it by `headscope resume {}`, or ", folder) : ""));
}

/// `ours`: of names like those of NewRunFolder.
void remove_temporary_files_of_run(const Folder& run, const std::function<bool(const std::string& name)>& ours) {
    remove_temporary_files(run, ours);
    const auto in_it = [&](const std::string& name) { return ours(std::string(in_checkpoints) + name); };
    if (const auto checkpoints = run.find_subfolder(checkpoints_name)) remove_temporary_files(*checkpoints, in_it);
}

/// What is in a folder, and in its subfolders "name/": files by their paths.
void add_files(const std::string& folder, const std::string& before, std::vector<std::string>& files) {
    for (const std::string& name : list_folder(folder)) {
        const std::string path = folder + "/" + name;
        if (std::filesystem::is_directory(std::filesystem::symlink_status(path)))
            add_files(path, before + name + "/", files);
        else files.push_back(before + name);
    }
}

/// "checkpoints/start.h5" of "checkpoints/.start.h5.tmp-12", and other names as they are.
std::string without_temporary(const std::string& name) {
    const std::size_t slash = name.rfind('/') + 1;  // 0 when there is none
    const std::string file = replaced_by(name.substr(slash));
    return file.empty() ? name : name.substr(0, slash) + file;
}

}  // namespace

NewRunFolder::NewRunFolder(const std::string& path, std::vector<std::string> files,
                           const std::function<void(const std::string&)>& on_message)
    : files_(std::move(files)) {
    const std::string folder = without_slash(path);
    make_folders(folder_of(folder));
    const bool is_new = make_new_folder(folder);
    const bool begins_again = is_one_of(files_, unfinished_log_name);
    std::error_code ignored;
    if (!is_new && (!begins_again || !std::filesystem::is_directory(folder, ignored))) refuse_existing(folder);
    try {
        lock_.emplace(folder, on_message);
    } catch (...) {
        if (is_new) ::rmdir(folder.c_str());
        throw;
    }
    if (!is_new) take_over(folder);
    if (begins_again) make_mark();
}

void NewRunFolder::take_over(const std::string& path) {
    std::vector<std::string> found;
    add_files(path, "", found);
    if (!is_one_of(found, unfinished_log_name)) refuse_existing(path);
    for (const std::string& name : found)
        if (!is_one_of(files_, without_temporary(name))) refuse_existing(path);
    remove_files();
}

void NewRunFolder::make_mark() {
    const Descriptor file = folder().open(unfinished_log_name, O_WRONLY | O_CREAT | O_EXCL);
    if (file >= 0) return;
    const int error = errno;
    remove_folder();
    folder().fail(unfinished_log_name, "cannot be made", error);
}

void NewRunFolder::remove_files() noexcept {
    const int file = folder().descriptor();
    try {
        remove_temporary_files_of_run(folder(), [this](const std::string& name) { return is_one_of(files_, name); });
    } catch (const IoError&) {  // then they stay
    }
    for (auto name = files_.rbegin(); name != files_.rend(); ++name) ::unlinkat(file, name->c_str(), 0);
    ::unlinkat(file, checkpoints_name, AT_REMOVEDIR);  // when it is empty
}

NewRunFolder::~NewRunFolder() {
    if (kept_) return;
    remove_files();
    remove_folder();
}

void NewRunFolder::remove_folder() noexcept {
    try {
        if (folder().is_in_place()) ::rmdir(folder().path().c_str());  // when it is empty
    } catch (const IoError&) {
    }
}

RunLock NewRunFolder::keep() {
    kept_ = true;
    return *lock_;
}

RunPaths::RunPaths(std::string folder_path)
    : folder(std::move(folder_path)),
      log(folder + "/" + log_file_name),
      config(folder + "/" + config_file_name),
      checkpoints(folder + "/" + checkpoints_name) {}

std::string run_folder_of(const std::string& path) {
    const bool is_log = std::filesystem::path(path).filename() == log_file_name && !std::filesystem::is_directory(path);
    return is_log ? folder_of(path) : path;
}

void remove_temporary_files_of_run(const Folder& run) {
    remove_temporary_files_of_run(run, [](const std::string& name) {
        const bool in_run = name == log_file_name || name == config_file_name || name == "ablation.h5";
        return in_run || (name.starts_with(in_checkpoints) && is_checkpoint_name(name.substr(in_checkpoints.size())));
    });
}

}  // namespace headscope::experiments
