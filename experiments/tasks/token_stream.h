// A row of tokens that a user brings along: an HDF5 file with /tokens, integers of any size and byte order, [n].
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace headscope::experiments {

/// Tokens in as few bytes each as hold the largest of the vocabulary: 1, 2 or 4.
class TokenStream {
public:
    /// `size` tokens 0. vocab_size at most 2^31.
    TokenStream(std::int64_t size, std::int64_t vocab_size);

    static std::int64_t bytes_per_token(std::int64_t vocab_size);

    std::int64_t size() const { return std::ssize(bytes_) / width_; }
    /// Tokens `first` to `first + count - 1`.
    void copy(std::int64_t first, std::int64_t count, std::int64_t* out) const;
    /// The tokens as they are stored: native unsigned integers.
    std::span<std::byte> bytes() { return bytes_; }
    /// SHA-256, as hex digits, of their number as a 64-bit and the tokens as 32-bit little-endian integers. So it does
    /// not depend on the vocabulary's size, nor on the type in the file.
    std::string sha256() const;

private:
    std::int64_t width_;
    std::vector<std::byte> bytes_;
};

/// Reads and checks the whole file, in pieces: memory holds the stream and some megabytes, or one chunk of the file as
/// int64. Throws IoError when it cannot be read, is no HDF5 file, or leads out of itself; UsageError when /tokens is
/// missing, not of integers, not one row of at least seq_len + 1, larger than memory, or holds a token that is not in
/// [0, vocab_size) (named with its place).
TokenStream read_token_stream(const std::string& path, std::int64_t vocab_size, std::int64_t seq_len);

}  // namespace headscope::experiments
