// Reading files without a checksum in a process of their own.
//
// HDF5 1.10 does not check what it parses: a flipped bit can make it write out of bounds and crash. Our own files carry
// checksums, which are compared before HDF5 opens them. Other files are read in a child process, which may crash.
#pragma once

#include <functional>
#include <string>

namespace headscope::experiments {

/// Calls `read` in a child process and returns the bytes that it returned. An Error thrown there is thrown here, as
/// UsageError or IoError; when the child crashes, or computes for more than 5 seconds and one more per megabyte
/// of the file, IoError names `path`. `read` must start no threads.
std::string read_in_child(const std::string& path, const std::function<std::string()>& read);

}  // namespace headscope::experiments
