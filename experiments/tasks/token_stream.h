// A row of tokens that a user brings along: an HDF5 file with /tokens, integers of any size and byte order, [n].
#pragma once

#include <cstdint>
#include <string>

#include "experiments/tasks/token_row.h"

namespace headscope::experiments {

/// SHA-256, as hex digits, of the number of tokens as a 64-bit and the tokens as 32-bit little-endian integers. So it
/// does not depend on the vocabulary's size, nor on the type in the file.
std::string sha256_of_stream(const TokenRow& stream);

/// Reads and checks the whole file, in pieces: memory holds the stream and some megabytes, or one chunk of the file as
/// int64. Throws IoError when it cannot be read, is no HDF5 file, or leads out of itself; UsageError when /tokens is
/// missing, not of integers, not one row of at least seq_len + 1, larger than memory, or holds a token that is not in
/// [0, vocab_size) (named with its place).
TokenRow read_token_stream(const std::string& path, std::int64_t vocab_size, std::int64_t seq_len);

}  // namespace headscope::experiments
