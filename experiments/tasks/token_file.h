// Batches of tokens that a user brings along: an HDF5 file with /inputs and /targets, [batches, B, T], integers of any
// size and byte order.
#pragma once

#include <cstdint>
#include <string>

#include "autograd/tensor.h"

namespace headscope::experiments {

struct TokenFile {
    Tensor inputs;   ///< i64 [batches, B, T], each in [0, vocab_size)
    Tensor targets;  ///< i64 [batches, B, T], each in [-1, vocab_size); -1 = not scored
    std::int64_t batches() const { return inputs.size(0); }
    std::int64_t batch_size() const { return inputs.size(1); }
};

/// Reads and checks the whole file. `seq_len` = 0 takes any length. Throws IoError when it cannot be read, is no HDF5
/// file, or leads out of itself (links, virtual datasets, external storage); UsageError when a dataset is missing, not
/// of integers, not [batches, B, seq_len] with every size at least 1, larger than memory, or holds a value out
/// of range (named with its place).
TokenFile read_token_file(const std::string& path, std::int64_t vocab_size, std::int64_t seq_len);

}  // namespace headscope::experiments
