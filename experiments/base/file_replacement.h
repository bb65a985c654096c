// How files are written: temporary name, fsync, rename, fsync of the folder.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>

#include "experiments/base/folder.h"

namespace headscope::experiments {

/// A new file that takes the place of another in one step, at the end. Until then the old one is untouched, and a
/// failure removes the new one. Its temporary name is ".<name>.tmp-<process>", with "-<number>" behind it when that is
/// taken; only a killed process leaves one behind. While its process lives the file is locked, so that nobody takes it
/// for left behind. Every function throws IoError with the path, the reason and the mend. Retries on EINTR, handles
/// short writes.
class FileReplacement {
public:
    /// Throws also when `folder` is not in place any more.
    FileReplacement(Folder folder, std::string name);
    explicit FileReplacement(const std::string& path);
    ~FileReplacement();
    FileReplacement(const FileReplacement&) = delete;
    FileReplacement& operator=(const FileReplacement&) = delete;

    void write(std::span<const std::byte> bytes);
    /// The same open file, which stays so after replace().
    Descriptor share() const;
    /// Syncs, renames and syncs the folder. Throws also when the folder is not in place any more.
    void replace();

private:
    void open_new_file();

    Folder folder_;
    std::string name_, path_, temporary_;
    Descriptor file_;
    bool replaced_ = false;
};

/// Replaces a file by `bytes` in one step, see FileReplacement.
void write_file_atomically(const Folder& folder, const std::string& name, std::span<const std::byte> bytes);
void write_file_atomically(const std::string& path, std::span<const std::byte> bytes);

/// The file that a temporary name stands for: "log.h5" of ".log.h5.tmp-123"; empty when it is no such name.
std::string replaced_by(const std::string& temporary);

/// Removes what killed processes of this user left of FileReplacement in a folder, of those files that are `ours`. The
/// temporary files of living processes stay. Throws IoError.
void remove_temporary_files(const Folder& folder, const std::function<bool(const std::string& name)>& ours);

}  // namespace headscope::experiments
