// What the probes of attention weights share: a mean, for each head, of something read off the rows of its weights.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "experiments/probes/capture.h"

namespace headscope::experiments {

/// The attention of one query in one sequence.
struct AttentionRow {
    std::int64_t query;
    std::int64_t length;         ///< T
    std::int64_t visible;        ///< keys the query may see: query + 1 in a causal model, at most the window; else T
    const double* weights;       ///< [T], none negative, summing to 1; those of keys out of sight are 0
    const std::int64_t* tokens;  ///< [T]: the sequence
};

/// Adds what a row says to a head's sums and counts, `width` of each: the head's values are sums / counts.
using ReadRow = std::function<void(const AttentionRow& row, double* sums, double* counts)>;

/// What probes of attention weights need of a row is shares: no weight negative, the sum 1. Attention `sigmoid`, one's
/// own attention and guests that edit the weights may give other rows. These are divided by their sum first. A row of
/// zeros, of a query that attends to nothing, is left out. A head with a negative or infinite weight or a NaN in any
/// row has the value NaN: such rows have no shares.
inline constexpr const char* share_rule =
    "; p is a query's row of weights divided by their sum; rows of zeros are left out, a negative weight makes it NaN";

/// Heads' means over the rows of all captures that it is shown, [L, H] or [L, H, width]. NaN where nothing was counted.
std::unique_ptr<Accumulator> mean_over_rows(const nn::Transformer& model, std::int64_t width, ReadRow read);

/// A metric [L, H] of that kind. Its invariance is GL, since the weights depend on W_q W_k^T alone.
struct RowMetric {
    std::string name, long_name, units, formula, source;
    SequenceSource sequences;
    ReadRow read;
    /// Smallest and largest value.
    std::function<std::pair<double, double>(const ProbeSetup& setup)> range = [](const ProbeSetup&) {
        return std::pair(0.0, 1.0);
    };
};

struct RegisterRowMetric {
    explicit RegisterRowMetric(const RowMetric& metric);
};

}  // namespace headscope::experiments
