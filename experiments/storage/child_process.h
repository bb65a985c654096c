// Reading files that nobody vouches for.
//
// HDF5 1.10 trusts what it parses: a flipped bit can make it write over memory and crash. Our own files carry checksums
// and are checked before it sees a byte. Of others, only a process of their own keeps a crash from being ours.
#pragma once

#include <functional>
#include <string>

namespace headscope::experiments {

/// Calls `read` in a child process and returns the bytes that it returned. An Error thrown there is thrown here, as
/// UsageError or IoError; when the child crashes, or computes for more than 5 seconds and one more per megabyte
/// of the file, IoError names `path`. `read` must start no threads.
std::string read_in_child(const std::string& path, const std::function<std::string()>& read);

}  // namespace headscope::experiments
