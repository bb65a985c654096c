#include "experiments/tasks/bigram.h"

#include <cmath>
#include <cstddef>

namespace headscope::experiments {

namespace {

std::size_t index(std::int32_t symbol) { return static_cast<std::size_t>(symbol); }

}  // namespace

// Pairs are kept sparse: a Chinese text has thousands of symbols, so tens of millions of possible pairs, and few real
// ones.
BigramModel::BigramModel(std::span<const std::int32_t> symbols, std::int64_t vocab_size)
    : vocab_size_(vocab_size),
      total_(static_cast<std::int64_t>(symbols.size())),
      counts_(static_cast<std::size_t>(vocab_size)),
      contexts_(static_cast<std::size_t>(vocab_size)) {
    for (std::size_t i = 0; i < symbols.size(); ++i) {
        if (counts_[index(symbols[i])]++ == 0) ++distinct_;
        if (i == 0) continue;
        Context& context = contexts_[index(symbols[i - 1])];
        ++context.pairs;
        if (pairs_[pair(symbols[i - 1], symbols[i])]++ == 0) ++context.successors;
    }
}

std::uint64_t BigramModel::pair(std::int32_t a, std::int32_t b) const {
    return static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(vocab_size_) + static_cast<std::uint64_t>(b);
}

double BigramModel::unigram(std::int32_t b) const {
    const auto distinct = static_cast<double>(distinct_);
    return (static_cast<double>(counts_[index(b)]) + distinct / static_cast<double>(vocab_size_)) /
           (static_cast<double>(total_) + distinct);
}

double BigramModel::bigram(std::int32_t b, std::int32_t a) const {
    const Context& context = contexts_[index(a)];
    if (context.pairs == 0) return unigram(b);
    const auto found = pairs_.find(pair(a, b));
    const double count = found == pairs_.end() ? 0.0 : static_cast<double>(found->second);
    const auto successors = static_cast<double>(context.successors);
    return (count + successors * unigram(b)) / (static_cast<double>(context.pairs) + successors);
}

double BigramModel::unigram_cross_entropy(std::span<const std::int32_t> symbols) const {
    double sum = 0;
    for (std::size_t i = 1; i < symbols.size(); ++i) sum -= std::log(unigram(symbols[i]));
    return sum / static_cast<double>(symbols.size() - 1);
}

double BigramModel::bigram_cross_entropy(std::span<const std::int32_t> symbols) const {
    double sum = 0;
    for (std::size_t i = 1; i < symbols.size(); ++i) sum -= std::log(bigram(symbols[i], symbols[i - 1]));
    return sum / static_cast<double>(symbols.size() - 1);
}

}  // namespace headscope::experiments
