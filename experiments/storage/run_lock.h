// One process at a time trains in a run's folder.
//
// The lock is on the folder itself (flock): no file of its own to be left behind, nothing to clean up after kill -9,
// since the kernel drops it with its process. Readers take no lock: all files in the folder are replaced as a whole.
#pragma once

#include <functional>
#include <string>

namespace headscope::experiments {

class RunLock {
public:
    /// Takes the lock of a run's folder until destruction. Throws UsageError naming the process that has it already,
    /// IoError when the folder cannot be opened. A file system that has no locks is a line for `on_message`, no error.
    RunLock(const std::string& folder, const std::function<void(const std::string&)>& on_message);
    ~RunLock();
    RunLock(const RunLock&) = delete;
    RunLock& operator=(const RunLock&) = delete;

private:
    int file_;
};

}  // namespace headscope::experiments
