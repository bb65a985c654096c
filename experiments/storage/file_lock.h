// Of a file in a folder that several processes may read, change and replace at once: one after the other.
#pragma once

#include <string>

#include "experiments/base/folder.h"

namespace headscope::experiments {

/// The lock is on a file of its own, ".<name>.lock", since the file itself is replaced. It is removed with the lock;
/// what a killed process leaves of it holds nobody up.
class FileLock {
public:
    /// Waits for whoever has it. Throws IoError when that lasts longer than `seconds`, or the folder cannot be written
    /// to. On a file system without locks it locks nothing.
    FileLock(Folder folder, const std::string& name, double seconds = 60);
    ~FileLock();
    FileLock(const FileLock&) = delete;
    FileLock& operator=(const FileLock&) = delete;

private:
    Folder folder_;
    std::string name_;
    Descriptor file_;
};

}  // namespace headscope::experiments
