// Probes of attention weights where rows do not sum to 1: own attention and edited weights.
#include "experiments/probes/attention_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "autograd/ops.h"
#include "experiments/probes/roles.h"
#include "tests/experiments/probes/probe_helpers.h"

namespace headscope::experiments {
namespace {

constexpr const char* row_probes[] = {"attention_entropy",
                                      "attention_entropy_normalized",
                                      "attention_distance",
                                      "confidence",
                                      "sink",
                                      "lag_profile",
                                      "previous_token",
                                      "duplicate_token",
                                      "induction",
                                      "prefix_matching"};

/// Whatever the scores: 4 for the query itself and 2 for every other visible key; nothing for query 2. Head 1 may give
/// query 3 `odd` for key 1.
nn::WeightsFunction fixed_weights(double odd) {
    return [odd](const Tensor& scores, const Tensor& visible) {
        Tensor weights = Tensor::zeros(scores.shape(), DType::f64);  // [B, 3, 6, 6]
        for (std::int64_t b = 0; b < scores.size(0); ++b)
            for (std::int64_t h = 0; h < 3; ++h)
                for (std::int64_t q = 0; q < scores.size(2); ++q)
                    for (std::int64_t k = 0; k < scores.size(3); ++k)
                        if (q != 2 && visible.at({0, 0, q, k}) != 0)
                            weights.data<double>()[((b * 3 + h) * scores.size(2) + q) * scores.size(3) + k] =
                                h == 1 && q == 3 && k == 1 ? odd
                                : q == k                   ? 4
                                                           : 2;
        return scale(scores, 0) + weights;
    };
}

nn::TransformerOptions with_weights(const nn::WeightsFunction& weights) {
    nn::TransformerOptions options = small_model();
    options.block.attention_weights = weights;
    return options;
}

// As shares, row q has 2 / (q + 2) for the query itself and 1 / (q + 2) for each of q other keys; row 2 is left out.
TEST(AttentionRows, AreSharesThatSumToOne) {
    ProbeBench bench(with_weights(fixed_weights(2)));
    double entropy = 0, distance = 0, confidence = 0, sink = 0, normalized = 0;
    for (const int q : {0, 1, 3, 4, 5}) {
        const double n = q + 2;
        const double own = -2 / n * std::log(2 / n) + q / n * std::log(n);
        entropy += own / 5;
        if (q > 0) normalized += own / std::log(q + 1) / 4;
        distance += q * (q + 1) / 2.0 / n / 5;
        confidence += 2 / n / 5;
        sink += (q == 0 ? 1 : 1 / n) / 5;
    }
    const auto expect = [&](const char* metric, double expected) {
        for (const double value : bench.measure(metric)) EXPECT_NEAR(value, expected, 1e-14) << metric;
    };
    expect("attention_entropy", entropy);
    expect("attention_entropy_normalized", normalized);
    expect("attention_distance", distance);
    expect("confidence", confidence);
    expect("sink", sink);
    const double previous = (1 / 3.0 + 1 / 5.0 + 1 / 6.0 + 1 / 7.0) / 4;  // queries 1, 3, 4, 5
    expect("previous_token", previous);
    expect("duplicate_token", (1 / 5.0 + 1 / 6.0 + 1 / 7.0) / 3);  // queries 3, 4, 5 on key q - 3
    const std::vector<double> profile = bench.measure("lag_profile");
    EXPECT_NEAR(profile[0], confidence, 1e-14);
    EXPECT_NEAR(profile[1], previous, 1e-14);
}

TEST(AttentionRows, ANegativeOrInfiniteWeightLeavesNothingToMeasureOfItsHead) {
    ProbeBench good(with_weights(fixed_weights(2)));
    for (const double odd : {-1.0, std::numeric_limits<double>::infinity(), std::nan("")}) {
        ProbeBench bench(with_weights(fixed_weights(odd)));
        for (const char* metric : row_probes) {
            SCOPED_TRACE(metric);
            const std::vector<double> values = bench.measure(metric), expected = good.measure(metric);
            const std::size_t width = values.size() / 6;
            for (std::size_t i = 0; i < values.size(); ++i) {
                const std::size_t head = i / width % 3;
                // Other heads are not touched, unless an infinite weight makes all of layer 1 NaN.
                if (head == 1) {
                    EXPECT_TRUE(std::isnan(values[i])) << i;
                } else if (odd == -1) {
                    EXPECT_EQ(values[i], expected[i]) << i;
                }
            }
        }
        EXPECT_EQ(role_of_code(bench.measure("role")[1]), "unclear");
    }
}

// The weights of a softmax that a guest has tripled are the same shares.
TEST(AttentionRows, EditedWeightsAreSharesToo) {
    ProbeBench bench(small_model());
    std::vector<std::vector<double>> before;
    for (const char* metric : row_probes) before.push_back(bench.measure(metric));
    const nn::Guest guest =
        bench.model.blocks[1]->attn.weights.edit([](const Tensor& weights) { return scale(weights, 3); });
    for (std::size_t p = 0; p < before.size(); ++p) {
        const std::vector<double> after = bench.measure(row_probes[p]);
        for (std::size_t i = 0; i < after.size(); ++i) EXPECT_NEAR(after[i], before[p][i], 1e-14) << row_probes[p];
    }
}

TEST(AttentionRows, TheFormulaSaysWhatItNeedsOfARow) {
    ProbeBench bench(small_model());
    for (const char* metric : row_probes)
        EXPECT_NE(bench.spec(metric).formula.find("row of weights divided by their sum"), std::string::npos) << metric;
    EXPECT_NE(bench.spec("role").formula.find("rows of weights divided by their sum"), std::string::npos);
}

}  // namespace
}  // namespace headscope::experiments
