// Log files as bytes: sealed when written, checked when opened.
//
// HDF5 trusts what it parses, and a flipped bit in a log can crash it. So a line "headscope log sha256 <hex>" follows
// the HDF5 file; tools that know nothing of it ignore what lies behind the end. A log without that line (another tool
// has rewritten it) is left to HDF5's own checks.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "experiments/storage/hdf5.h"

namespace headscope {

/// Appends the line to the bytes of an HDF5 file.
void seal_log(std::vector<std::byte>& image);

/// Opens a log in memory. Throws IoError when it cannot be read, is damaged, or is not a log of schema 1.0.
hdf5::File open_log(const std::string& path, bool writable = false);

inline constexpr const char* log_schema_name = "headscope.log";
inline constexpr const char* log_schema_version = "1.0";

}  // namespace headscope
