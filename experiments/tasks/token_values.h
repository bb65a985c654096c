// What files of tokens have in common, whether they hold batches (token_file.h) or a stream (token_stream.h).
#pragma once

#include <cstdint>
#include <string>

namespace headscope::experiments {

/// Throws IoError when there is no such file; `datasets` says what it should hold ("/inputs and /targets").
void require_tokens_file(const std::string& path, const std::string& datasets);

/// A token in messages, as it was read. HDF5 gives the nearest end of int64's range for a value beyond it, which uint64
/// can hold.
std::string token_text(std::int64_t value);

}  // namespace headscope::experiments
