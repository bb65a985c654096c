#include "experiments/tasks/bigram.h"

#include <cmath>
#include <cstddef>

namespace headscope::experiments {

namespace {

std::size_t index(std::int32_t symbol) { return static_cast<std::size_t>(symbol); }

}  // namespace

BigramModel::BigramModel(const TokenSpan& symbols, std::int64_t vocab_size)
    : vocab_size_(vocab_size),
      counts_(static_cast<std::size_t>(vocab_size)),
      contexts_(static_cast<std::size_t>(vocab_size)) {
    std::visit(
        [this](const auto& row) {
            total_ = std::ssize(row);
            const double pairs = static_cast<double>(vocab_size_) * static_cast<double>(vocab_size_);
            if (pairs <= static_cast<double>(total_) / 16) count_in_table(row);
            else count_in_map(row);
        },
        symbols);
    for (const std::int64_t count : counts_) distinct_ += count > 0 ? 1 : 0;
}

// One number changes for each symbol; the sums of rows and columns are the other counts.
template <class Symbol>
void BigramModel::count_in_table(std::span<const Symbol> symbols) {
    const auto V = static_cast<std::size_t>(vocab_size_);
    table_.resize(V * V);
    for (std::size_t i = 1; i < symbols.size(); ++i) ++table_[symbols[i - 1] * V + symbols[i]];
    ++counts_[symbols.front()];
    for (std::size_t a = 0; a < V; ++a)
        for (std::size_t b = 0; b < V; ++b) {
            const std::int64_t count = table_[a * V + b];
            counts_[b] += count;
            contexts_[a].pairs += count;
            contexts_[a].successors += count > 0 ? 1 : 0;
        }
}

template <class Symbol>
void BigramModel::count_in_map(std::span<const Symbol> symbols) {
    for (std::size_t i = 0; i < symbols.size(); ++i) {
        ++counts_[index(symbols[i])];
        if (i == 0) continue;
        Context& context = contexts_[index(symbols[i - 1])];
        ++context.pairs;
        if (map_[pair(symbols[i - 1], symbols[i])]++ == 0) ++context.successors;
    }
}

std::uint64_t BigramModel::pair(std::int32_t a, std::int32_t b) const {
    return static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(vocab_size_) + static_cast<std::uint64_t>(b);
}

std::int64_t BigramModel::count_of(std::int32_t a, std::int32_t b) const {
    if (!table_.empty()) return table_[pair(a, b)];
    const auto found = map_.find(pair(a, b));
    return found == map_.end() ? 0 : found->second;
}

double BigramModel::unigram(std::int32_t b) const {
    const auto distinct = static_cast<double>(distinct_);
    return (static_cast<double>(counts_[index(b)]) + distinct / static_cast<double>(vocab_size_)) /
           (static_cast<double>(total_) + distinct);
}

double BigramModel::bigram(std::int32_t b, std::int32_t a) const {
    const Context& context = contexts_[index(a)];
    if (context.pairs == 0) return unigram(b);
    const auto count = static_cast<double>(count_of(a, b));
    const auto successors = static_cast<double>(context.successors);
    return (count + successors * unigram(b)) / (static_cast<double>(context.pairs) + successors);
}

double BigramModel::unigram_cross_entropy(const TokenSpan& symbols) const {
    std::vector<double> logs(counts_.size());  // computed once for each symbol
    for (std::size_t b = 0; b < logs.size(); ++b) logs[b] = std::log(unigram(static_cast<std::int32_t>(b)));
    return std::visit(
        [&](const auto& row) {
            double sum = 0;
            for (std::size_t i = 1; i < row.size(); ++i) sum -= logs[index(row[i])];
            return sum / static_cast<double>(row.size() - 1);
        },
        symbols);
}

double BigramModel::bigram_cross_entropy(const TokenSpan& symbols) const {
    std::vector<double> logs(table_.size(), 1);  // once for each pair that occurs; a probability's logarithm is not 1
    return std::visit(
        [&](const auto& row) {
            double sum = 0;
            for (std::size_t i = 1; i < row.size(); ++i) {
                if (logs.empty()) {
                    sum -= std::log(bigram(row[i], row[i - 1]));
                    continue;
                }
                double& log = logs[pair(row[i - 1], row[i])];
                if (log == 1) log = std::log(bigram(row[i], row[i - 1]));
                sum -= log;
            }
            return sum / static_cast<double>(row.size() - 1);
        },
        symbols);
}

}  // namespace headscope::experiments
