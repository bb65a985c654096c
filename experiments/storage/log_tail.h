// The tail of a log: RUN/log.h5.tail, rows that are newer than log.h5. A log is written whole and so costs the more the
// longer it is; a tail grows by what is new. So each checkpoint goes with rows in the tail, and the log is published
// when it is time. Whoever reads a log through open_log() sees both.
//
//   headscope log tail of publication 7
//   rows 2136 <SHA-256>
//   <2136 bytes>
//   rows ...
//
// The bytes are an HDF5 file of the rows that one block adds, each dataset by its path in the log, and of attribute
// complete_until. A block that is not whole, and what follows it, counts for nothing: a process was killed while it
// wrote. A tail of another publication than the log's counts for nothing either: its rows are in the log.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "experiments/base/folder.h"
#include "experiments/storage/hdf5.h"

namespace headscope::experiments {

/// "<log>.tail".
std::string tail_path(const std::string& log);

/// Writes a tail. Every function throws IoError.
class TailWriter {
public:
    TailWriter(Folder folder, const std::string& log_name);

    /// Adds a block for the log that was published as number `publication`. The first one makes the file, and removes
    /// one that is there.
    void append(std::int64_t publication, std::span<const std::byte> rows);
    /// All blocks are on disk when this returns.
    void sync();
    /// Hands over the bytes of each block but the first `skip`, and returns how many blocks there are.
    std::uint64_t read_back(std::uint64_t skip, const std::function<void(std::span<const std::byte>)>& use) const;
    /// The file goes. It is made anew by the next block.
    void remove();

private:
    Folder folder_;
    std::string name_, path_;
    Descriptor file_;
    std::uint64_t blocks_ = 0;
    bool in_folder_ = false;  ///< the folder, too, was synced
};

struct TailContents {
    std::int64_t publication = -1;  ///< -1: there is no tail, or not even its first line is whole
    std::uint64_t blocks = 0;
    std::uint64_t bytes = 0, whole_bytes = 0;  ///< of the file; of it up to the end of the last whole block
};

/// Reads the tail of the log at `log`, and hands over the bytes of each block when its publication is `publication`.
TailContents read_tail(const std::string& log, std::int64_t publication,
                       const std::function<void(std::span<const std::byte>)>& use);

/// Adds the rows of a block, an HDF5 file, to the end of the datasets of the same paths in a log.
void append_rows(hdf5::File& log, const hdf5::File& rows);

}  // namespace headscope::experiments
