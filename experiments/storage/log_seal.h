// Log files as bytes: sealed when written, checked when opened.
//
// HDF5 trusts what it parses, and a flipped bit in a log can crash it. So a line "headscope log sha256 <hex>" follows
// the HDF5 file; tools that know nothing of it ignore what lies behind the end. A log without that line (another tool
// has rewritten it) is read through in a process of its own first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/base/files.h"
#include "experiments/storage/hdf5.h"

namespace headscope::experiments {

/// The line for bytes of that SHA-256.
std::string seal_of(const std::string& sha256);
/// Appends the line to the bytes of an HDF5 file: of a log, or of another file that a run leaves for its reader.
void seal_log(std::vector<std::byte>& image);

/// An open file of that kind, checked: its first `size` bytes are an HDF5 file. It is not read into memory.
struct SealedFile {
    Descriptor file;
    std::uint64_t size = 0;
    std::string sha256;  ///< of these bytes; empty when the file has no such line
};
/// Throws IoError when the file cannot be read or is damaged.
SealedFile open_sealed_file(const std::string& path);
/// Does such a file hold the bytes of `sha256`, and behind them the line?
bool is_unchanged(const SealedFile& sealed, const std::string& path);
/// Reads all datasets of such a file in a process of its own. Throws IoError when one cannot be read.
void require_readable(const SealedFile& sealed, const std::string& path);

/// Opens a file of that kind in memory. Throws IoError when it cannot be read or is damaged.
hdf5::File open_sealed(const std::string& path, bool writable = false);
/// Do the bytes of a file end with such a line? Says nothing about whether it fits.
bool is_sealed(std::string_view bytes);

/// Opens a log in memory, the rows of its tail (log_tail.h) included. Throws IoError when it cannot be read, is
/// damaged, or is not a log of a schema known here: 1.1, or 1.0, which lacks data_sha256 and folder.
hdf5::File open_log(const std::string& path);

/// The same of a log that is open already, without its tail.
void require_log(const hdf5::File& file, const std::string& path);
/// Adds the rows of the tail of the log at `path` to `file`, that log, open for writing. Attribute complete_until
/// follows.
void add_tail(hdf5::File& file, const std::string& path);

inline constexpr const char* log_schema_name = "headscope.log";
inline constexpr const char* log_schema_version = "1.1";  ///< of the logs that this program writes

}  // namespace headscope::experiments
