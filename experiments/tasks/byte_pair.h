// Byte-pair tokens (Gage 1994; Sennrich et al. 2016, "Neural machine translation of rare words with subword units"):
// frequent neighbours become one token, over and over.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace headscope::experiments {

/// Text is bytes, cut into pieces that no token crosses: a newline, or one space (or none) and the bytes up to the next
/// space or newline. So " king" is a piece, and a word after a space is another token than at the start of a line.
///
/// The first tokens are single bytes, in order of value. Each next one joins the pair of tokens that stands side by
/// side most often in the training text; of equally frequent ones that with the smaller first, then the smaller second
/// token. Counting covers overlapping pairs ("aaa" has two of "aa"), joining goes from left to right. Deterministic.
class BytePairs {
public:
    /// Learns from `training` until there are `vocab_size` tokens or no pair occurs twice. The single bytes are those
    /// of `training` and of `alphabet`.
    BytePairs(std::string_view training, std::string_view alphabet, std::int64_t vocab_size);

    /// Tokens: at most the vocab_size that was asked for, unless there are more single bytes than that.
    std::int64_t size() const { return std::ssize(bytes_); }
    std::int64_t single_bytes() const { return singles_; }

    /// Joins pairs in the order in which they were learnt. Every byte must be a token; see first_unknown().
    std::vector<std::int32_t> encode(std::string_view text) const;
    /// The same, handed over piece by piece.
    void encode(std::string_view text, const std::function<void(std::span<const std::int32_t> tokens)>& use) const;
    std::string decode(const std::vector<std::int32_t>& tokens) const;

    /// The place of the first byte of `text` that is no token, or npos.
    std::size_t first_unknown(std::string_view text) const;

    /// The bytes of each token. They may end in the middle of a character.
    const std::vector<std::string>& bytes() const { return bytes_; }

private:
    void learn(std::string_view training, std::int64_t vocab_size);
    std::vector<std::int32_t> encode_piece(std::string_view piece) const;

    std::vector<std::string> bytes_;
    std::int64_t singles_ = 0;
    std::vector<std::int32_t> token_of_byte_;                 ///< 256 long; -1 = no token
    std::unordered_map<std::uint64_t, std::int32_t> joined_;  ///< pair of tokens -> the token they make
};

/// Bytes as text that is always valid UTF-8: a byte that is no part of a whole character becomes <E7>.
std::string readable(std::string_view bytes);

}  // namespace headscope::experiments
