// Log files as bytes: sealed when written, checked when opened.
//
// HDF5 trusts what it parses, and a flipped bit in a log can crash it. So a line "headscope log sha256 <hex>" follows
// the HDF5 file; tools that know nothing of it ignore what lies behind the end. A log without that line (another tool
// has rewritten it) is read through in a process of its own first.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/storage/hdf5.h"

namespace headscope::experiments {

/// Appends the line to the bytes of an HDF5 file: of a log, or of another file that a run leaves for its reader.
void seal_log(std::vector<std::byte>& image);

/// Opens a file of that kind in memory. Throws IoError when it cannot be read or is damaged.
hdf5::File open_sealed(const std::string& path, bool writable = false);
/// Do the bytes of a file end with such a line? Says nothing about whether it fits.
bool is_sealed(std::string_view bytes);

/// Opens a log in memory. Throws IoError when it cannot be read, is damaged, or is not a log of a schema known here:
/// 1.1, or 1.0, which lacks data_sha256 and folder.
hdf5::File open_log(const std::string& path, bool writable = false);

inline constexpr const char* log_schema_name = "headscope.log";
inline constexpr const char* log_schema_version = "1.1";  ///< of the logs that this program writes

}  // namespace headscope::experiments
