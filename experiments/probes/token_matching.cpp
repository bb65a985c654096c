// Whether a head attends by position or by what the tokens are, on random sequences made for it (sequences.h): means of
// single weights p_qk, query q, key k, of rows as shares that sum to 1 (attention_rows.h).
//
// On a block of L random tokens and the same again, x_(t + L) = x_t (L = floor(T / 2), tokens distinct within the block
// where the vocabulary allows):
//   previous_token[l, h] = mean over sequences and queries q = 1 .. 2L - 1 of p_(q, q - 1)
//   duplicate_token[l, h] = mean over sequences and queries q = L .. 2L - 1 of p_(q, q - L): on the same token before
//   induction[l, h] = mean over sequences and queries q = L .. 2L - 1 of p_(q, q - L + 1): on the token after the same
//     token before. NaN when L = 1, where that is the query itself.
// The second and third are diagonal means of the attention pattern as in TransformerLens; its diagonal of offset L - 1
// has one more element, query L - 1 on key 0, where nothing has been repeated yet.
// A head that looks back by a fixed L, or L - 1, scores here too: lags alone cannot tell. So:
//
// On blocks that repeat with a random period of their own, 2 .. L, for each sequence:
//   prefix_matching[l, h] = mean over the queries q that have such a key, of all sequences alike, of
//     sum over keys k with 1 <= k < q and x_(k - 1) = x_q of p_qk: on the tokens after all the earlier ones like q's
//
// Shape [L, H], units 1, range [0, 1]. Source: Olsson et al. 2022, "In-context learning and induction heads"; Nanda and
// Bloom 2022, TransformerLens. A model that is not causal is shown the same; what it reads ahead of q counts nowhere.
// Invariance: GL (rotary positions aside). The weights depend on W_q W_k^T alone. Null: none; where the weights are
// uniform each mean is that of (number of keys counted) / (number of keys visible).
#include "experiments/probes/attention_rows.h"
#include "experiments/probes/sequences.h"

namespace headscope::experiments {

namespace {

/// Adds the weight on the key `lag` back, for the queries from `first` to the end of the second block.
void add_weight(const AttentionRow& row, std::int64_t first, std::int64_t lag, double* sum, double* count) {
    if (row.query < first || row.query >= 2 * repeated_length(row.length)) return;
    *sum += row.weights[row.query - lag];
    *count += 1;
}

const RegisterRowMetric registered_previous{{
    .name = "previous_token",
    .long_name = "mean attention weight on the previous token",
    .units = "1",
    .formula = "mean of p_(q, q - 1) over q = 1 .. 2L - 1, on L random tokens twice",
    .source = "Nanda and Bloom 2022, TransformerLens",
    .sequences = SequenceSource::repeated,
    .read = [](const AttentionRow& row, double* sum, double* count) { add_weight(row, 1, 1, sum, count); },
}};

const RegisterRowMetric registered_duplicate{{
    .name = "duplicate_token",
    .long_name = "mean attention weight on the same token before",
    .units = "1",
    .formula = "mean of p_(q, q - L) over q = L .. 2L - 1, on L random tokens twice",
    .source = "Nanda and Bloom 2022, TransformerLens",
    .sequences = SequenceSource::repeated,
    .read =
        [](const AttentionRow& row, double* sum, double* count) {
            const std::int64_t block = repeated_length(row.length);
            add_weight(row, block, block, sum, count);
        },
}};

const RegisterRowMetric registered_induction{{
    .name = "induction",
    .long_name = "mean attention weight on the token after the same token before",
    .units = "1",
    .formula = "mean of p_(q, q - L + 1) over q = L .. 2L - 1, on L random tokens twice",
    .source = "Olsson et al. 2022; Nanda and Bloom 2022, TransformerLens",
    .sequences = SequenceSource::repeated,
    .read =
        [](const AttentionRow& row, double* sum, double* count) {
            const std::int64_t block = repeated_length(row.length);
            if (block > 1) add_weight(row, block, block - 1, sum, count);
        },
}};

const RegisterRowMetric registered_prefix{{
    .name = "prefix_matching",
    .long_name = "mean attention weight on the tokens after all earlier ones like the query's",
    .units = "1",
    .formula =
        "mean over the queries q that have such a key of the sum of p_qk over 1 <= k < q with x_(k - 1) = x_q, on "
        "random tokens repeated with random periods",
    .source = "Olsson et al. 2022",
    .sequences = SequenceSource::random_periods,
    .read =
        [](const AttentionRow& row, double* sum, double* count) {
            bool found = false;
            for (std::int64_t key = 1; key < row.query; ++key) {
                if (row.tokens[key - 1] != row.tokens[row.query]) continue;
                found = true;
                *sum += row.weights[key];
            }
            if (found) *count += 1;
        },
}};

}  // namespace

}  // namespace headscope::experiments
