// Reading files without a checksum in a process of their own.
//
// HDF5 1.10 does not check what it parses: a flipped bit can make it write out of bounds and crash. Our own files carry
// checksums, which are compared before HDF5 opens them. Other files are read in a child process, which may crash.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace headscope::experiments {

/// Calls `read` in a child process and returns the bytes that it returned. An Error thrown there is thrown here, as
/// UsageError or IoError; when the child crashes, or computes for more than 5 seconds and one more per megabyte
/// of the file, IoError names `path`. The child ends when this process does. `read` must start no threads.
std::string read_in_child(const std::string& path, const std::function<std::string()>& read);

/// What the child hands on.
using SendBytes = std::function<void(std::string_view)>;

/// The same for what is too large to be held twice: `read` sends it piece by piece, and `take` gets it here while the
/// child reads on, in order, in pieces of other sizes. It may have got some before an error is thrown. What `take`
/// throws ends the child.
void read_in_child(const std::string& path, const std::function<void(const SendBytes&)>& read,
                   const std::function<void(std::string_view)>& take);

}  // namespace headscope::experiments
