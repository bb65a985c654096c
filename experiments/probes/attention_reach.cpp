// Where a head's attention goes, by position, on the fixed evaluation batches. p is the row of weights of query q, as
// shares that sum to 1 (attention_rows.h).
//
//   attention_distance[l, h] = mean over sequences and queries of sum_k p_k (q - k)
//     Units token, range [0, T - 1]; in a model that is not causal [-(T - 1), T - 1], a look ahead counting as
//     negative.
//   confidence[l, h] = mean over sequences and queries of max_k p_k                           Units 1, range [0, 1].
//   sink[l, h] = mean over sequences and queries of p_0, the query at position 0 included     Units 1, range [0, 1].
//   lag_profile[l, h, t] = mean over sequences and the queries q >= t, for which the lag exists, of p_(q - t)
//     Shape [L, H, T], units 1, range [0, 1]. It does not sum to 1 over t: lag t has T - t queries, not T. What a model
//     that is not causal reads ahead of the query is in no lag.
//
// Shape [L, H] but for the last. Sources: distance, Vig and Belinkov 2019, "Analyzing the structure of attention in a
// transformer language model"; confidence, Voita et al. 2019, "Analyzing multi-head self-attention"; sink, Xiao et al.
// 2023, "Efficient streaming language models with attention sinks"; the profile is defined here.
// Invariance: GL (rotary positions aside). The weights depend on W_q W_k^T alone. Null: none; causal uniform weights
// have the distance (T - 1) / 4, and the confidence and sink (1 + 1/2 + ... + 1/T) / T.
#include <algorithm>
#include <string>

#include "experiments/probes/attention_rows.h"

namespace headscope::experiments {

namespace {

const RegisterRowMetric registered_distance{{
    .name = "attention_distance",
    .long_name = "mean distance back to what a head attends to",
    .units = "token",
    .formula = "mean over sequences and queries of sum_k p_k (q - k), on the evaluation batches",
    .source = "Vig and Belinkov 2019",
    .sequences = SequenceSource::evaluation,
    .read =
        [](const AttentionRow& row, double* sum, double* count) {
            for (std::int64_t key = 0; key < row.length; ++key)
                *sum += row.weights[key] * static_cast<double>(row.query - key);
            *count += 1;
        },
    .range =
        [](const ProbeSetup& setup) {
            const auto farthest = static_cast<double>(setup.seq_len - 1);
            return std::pair(setup.model.causal ? 0.0 : -farthest, farthest);
        },
}};

const RegisterRowMetric registered_confidence{{
    .name = "confidence",
    .long_name = "mean of a head's largest attention weight",
    .units = "1",
    .formula = "mean over sequences and queries of max_k p_k, on the evaluation batches",
    .source = "Voita et al. 2019",
    .sequences = SequenceSource::evaluation,
    .read =
        [](const AttentionRow& row, double* sum, double* count) {
            *sum += *std::max_element(row.weights, row.weights + row.length);
            *count += 1;
        },
}};

const RegisterRowMetric registered_sink{{
    .name = "sink",
    .long_name = "mean attention weight on position 0",
    .units = "1",
    .formula = "mean over sequences and queries, position 0 included, of p_0, on the evaluation batches",
    .source = "Xiao et al. 2023",
    .sequences = SequenceSource::evaluation,
    .read =
        [](const AttentionRow& row, double* sum, double* count) {
            *sum += row.weights[0];
            *count += 1;
        },
}};

class LagProfile : public CaptureProbe {
public:
    MetricSpec spec(const ProbeSetup& setup) const override {
        return {.name = "lag_profile",
                .long_name = "mean attention weight by distance back",
                .units = "1",
                .formula = std::string("mean over sequences and queries q >= lag of p_(q - lag), on the evaluation "
                                       "batches") +
                           share_rule,
                .source = "definition",
                .invariance = "GL",
                .minimum = 0,
                .maximum = 1,
                .dimensions = {{"layer", setup.layers(), {}}, {"head", setup.heads(), {}}, {"lag", setup.seq_len, {}}}};
    }

    std::unique_ptr<Accumulator> accumulate(const ProbeContext& context) const override {
        return mean_over_rows(context.model, context.task.seq_len(),
                              [](const AttentionRow& row, double* sums, double* counts) {
                                  for (std::int64_t lag = 0; lag <= row.query; ++lag) {
                                      sums[lag] += row.weights[row.query - lag];
                                      counts[lag] += 1;
                                  }
                              });
    }
};

const RegisterProbe registered_lags("lag_profile", [] { return std::make_unique<LagProfile>(); });

}  // namespace

}  // namespace headscope::experiments
