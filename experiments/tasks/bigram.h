// Unigram and bigram models of a text: what a transformer has to beat before it has learnt more than neighbours.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "experiments/tasks/token_row.h"

namespace headscope::experiments {

/// Counts of symbols and of neighbouring pairs, smoothed by Witten and Bell's method (1991, "The zero-frequency
/// problem", method C, interpolated as in Chen and Goodman 1998): a symbol never seen in a context is as likely as it
/// was, in that context, to meet a new one.
///   unigram  P(b)   = (c(b) + T / V) / (N + T)              N symbols, T different ones; V = vocab_size
///   bigram   P(b|a) = (c(a,b) + T(a) P(b)) / (c(a) + T(a))  c(a) pairs that begin with a, T(a) different ones
/// Every symbol in [0, V) has a probability above 0, so every cross-entropy is finite.
class BigramModel {
public:
    /// `symbols` in [0, vocab_size), at least one.
    BigramModel(const TokenSpan& symbols, std::int64_t vocab_size);

    double unigram(std::int32_t b) const;
    double bigram(std::int32_t b, std::int32_t a) const;

    /// Mean of -ln P over symbols 1, 2, ... of a text (nat per symbol), the first being context only. Both means are
    /// over the same symbols. At least two symbols.
    double unigram_cross_entropy(const TokenSpan& symbols) const;
    double bigram_cross_entropy(const TokenSpan& symbols) const;

private:
    struct Context {
        std::int64_t pairs = 0;       ///< c(a)
        std::int64_t successors = 0;  ///< T(a)
    };
    template <class Symbol>
    void count_in_table(std::span<const Symbol> symbols);
    template <class Symbol>
    void count_in_map(std::span<const Symbol> symbols);
    std::uint64_t pair(std::int32_t a, std::int32_t b) const;
    std::int64_t count_of(std::int32_t a, std::int32_t b) const;

    std::int64_t vocab_size_;
    std::int64_t total_ = 0;
    std::int64_t distinct_ = 0;
    std::vector<std::int64_t> counts_;
    std::vector<Context> contexts_;
    // How often each pair occurs: a table of all pairs where that is small beside the text, else of those that occur. A
    // Chinese text has thousands of symbols, so tens of millions of possible pairs, and few real ones.
    std::vector<std::int64_t> table_;
    std::unordered_map<std::uint64_t, std::int64_t> map_;
};

}  // namespace headscope::experiments
