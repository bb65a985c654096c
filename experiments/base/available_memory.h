// How much memory this process may still take.
#pragma once

#include <optional>
#include <string>

namespace headscope::experiments {

/// The least of what there is, in bytes; nothing when the system tells none of them:
///   the machine    MemAvailable of /proc/meminfo
///   its cgroups    the limit of the process's own group and of each above it (v1 and v2), less what is in use there
///   but
///                  for page cache that can be dropped
///   the process    its limits on address space (ulimit -v) and data (ulimit -d), less what it has
/// `root`: where the file system begins; another one in tests.
std::optional<double> available_memory(const std::string& root = "");

}  // namespace headscope::experiments
