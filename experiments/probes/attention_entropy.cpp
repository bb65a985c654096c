// How widely each head spreads its attention, on the fixed evaluation batches. p is the row of weights of a query
// (before dropout) as shares that sum to 1 (attention_rows.h), n the number of keys that it may see: q + 1 in a causal
// model, T in any other; 0 ln 0 = 0.
//
//   attention_entropy[l, h] = mean over sequences and query positions of -sum_k p_k ln p_k
//     Units nat, range [0, ln T].
//   attention_entropy_normalized[l, h] = the same of -sum_k p_k ln p_k / ln n, rows with n = 1 left out
//     Units 1, range [0, 1]: 0 = one key, 1 = all visible keys alike. NaN when T = 1.
//
// Shape [L, H]. Source: Shannon 1948, "A mathematical theory of communication".
// Invariance: GL (rotary positions aside). The weights depend on W_q W_k^T alone. Null: none; a head that does not
// look, W_q = 0, has the normalized entropy 1.
#include <cmath>

#include "experiments/probes/attention_rows.h"

namespace headscope::experiments {

namespace {

double entropy(const AttentionRow& row) {
    double sum = 0;
    for (std::int64_t key = 0; key < row.length; ++key)
        if (row.weights[key] > 0) sum -= row.weights[key] * std::log(row.weights[key]);
    return sum;
}

const RegisterRowMetric registered{{
    .name = "attention_entropy",
    .long_name = "mean entropy of a head's attention rows",
    .units = "nat",
    .formula = "mean over sequences and query positions of -sum p ln p, on the evaluation batches",
    .source = "Shannon 1948",
    .sequences = SequenceSource::evaluation,
    .read =
        [](const AttentionRow& row, double* sum, double* count) {
            *sum += entropy(row);
            *count += 1;
        },
    .range = [](const ProbeSetup& setup) { return std::pair(0.0, std::log(static_cast<double>(setup.seq_len))); },
}};

const RegisterRowMetric registered_normalized{{
    .name = "attention_entropy_normalized",
    .long_name = "mean share of the largest possible entropy in a head's attention rows",
    .units = "1",
    .formula = "mean over sequences and query positions of -sum p ln p / ln n, n the number of visible keys, n > 1, on "
               "the evaluation batches",
    .source = "Shannon 1948",
    .sequences = SequenceSource::evaluation,
    .read =
        [](const AttentionRow& row, double* sum, double* count) {
            if (row.visible < 2) return;
            *sum += entropy(row) / std::log(static_cast<double>(row.visible));
            *count += 1;
        },
}};

}  // namespace

}  // namespace headscope::experiments
