// One process at a time trains in a run's folder.
//
// The lock is on the folder itself (flock): no file of its own to be left behind, nothing to clean up after kill -9,
// since the kernel drops it with its process. Readers take no lock: all files in the folder are replaced as a whole.
// Beside it the owner holds a mark on the folder (an open-file-description lock, F_RDLCK): the kernel answers whether
// there is one without any lock being taken, which flock() cannot do.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "experiments/base/folder.h"

namespace headscope::experiments {

/// The lock goes when the last copy is gone.
class RunLock {
public:
    /// Takes the lock of a run's folder. Throws UsageError naming the process that has it already, IoError when the
    /// folder cannot be opened. A file system that has no locks is a line for `on_message`, no error.
    RunLock(const std::string& path, const std::function<void(const std::string&)>& on_message);

    /// The folder that is locked. A folder that is put in its place later is another one.
    const Folder& folder() const { return folder_; }

private:
    Folder folder_;
};

/// Does a process train in the folder now? Takes no lock and changes nothing. Nothing when that cannot be told: its
/// file system is shared with other machines or has no locks, and no process of this machine is seen. Throws IoError
/// when the folder cannot be opened.
std::optional<bool> is_locked(const std::string& folder);

}  // namespace headscope::experiments
