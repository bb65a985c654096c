// What heads do, against plain loops over the weights of a forward pass.
#include <gtest/gtest.h>

#include <cmath>

#include "experiments/probes/sequences.h"
#include "tests/experiments/probes/probe_helpers.h"

namespace headscope::experiments {
namespace {

/// Of positions 9 (an odd number: L = 4), and as many tokens as asked for.
nn::TransformerOptions options_with(std::int64_t vocab_size, bool causal, std::int64_t seq_len = 9) {
    nn::TransformerOptions options = small_model();
    options.vocab_size = vocab_size;
    options.max_len = seq_len;
    options.causal = causal;
    return options;
}

struct Mean {
    double sum = 0, count = 0;
    void add(double value) {
        sum += value;
        count += 1;
    }
};

void expect_means(ProbeBench& bench, const std::string& metric, const std::vector<Mean>& expected) {
    const std::vector<double> values = bench.measure(metric);
    ASSERT_EQ(values.size(), expected.size()) << metric;
    for (std::size_t i = 0; i < values.size(); ++i)
        EXPECT_NEAR(values[i], expected[i].sum / expected[i].count, 1e-13) << metric << " " << i;
}

/// For each [l, h], visit(weight, tokens, head's number) with weight(q, k) and tokens(t) of each sequence of a batch.
template <class Visit>
void for_each_sequence(nn::Transformer& model, const Batch& batch, Visit&& visit) {
    const std::vector<Tensor> weights = weights_on(model, batch);
    for (std::size_t layer = 0; layer < 2; ++layer)
        for (std::int64_t head = 0; head < 3; ++head)
            for (std::int64_t b = 0; b < batch.inputs.size(0); ++b)
                visit(
                    [&](std::int64_t q, std::int64_t k) {
                        return weights[layer].at({b, head, q, k});
                    },
                    [&](std::int64_t t) { return batch.inputs.data<std::int64_t>()[b * batch.inputs.size(1) + t]; },
                    layer * 3 + static_cast<std::size_t>(head));
}

class TokenMatching : public testing::TestWithParam<std::tuple<std::int64_t, bool>> {
protected:
    TokenMatching() : bench(options_with(std::get<0>(GetParam()), std::get<1>(GetParam()))) {}
    ProbeBench bench;
};

TEST_P(TokenMatching, IsTheMeanOfDiagonalsOnABlockTwice) {
    std::vector<Mean> previous(6), duplicate(6), induction(6);
    for_each_sequence(bench.model, repeated_batch(bench.context()), [&](auto weight, auto token, std::size_t i) {
        for (std::int64_t q = 1; q < 8; ++q) previous[i].add(weight(q, q - 1));
        for (std::int64_t q = 4; q < 8; ++q) {
            EXPECT_EQ(token(q), token(q - 4));
            duplicate[i].add(weight(q, q - 4));
            induction[i].add(weight(q, q - 3));
        }
    });
    expect_means(bench, "previous_token", previous);
    expect_means(bench, "duplicate_token", duplicate);
    expect_means(bench, "induction", induction);
}

TEST_P(TokenMatching, SumsAllPrefixesLikeTheQuery) {
    std::vector<Mean> prefix(6);
    for_each_sequence(bench.model, random_periods_batch(bench.context()), [&](auto weight, auto token, std::size_t i) {
        for (std::int64_t q = 0; q < 9; ++q) {
            double sum = 0;
            bool any = false;
            for (std::int64_t earlier = 0; earlier + 1 < q; ++earlier)
                if (token(earlier) == token(q)) {
                    sum += weight(q, earlier + 1);
                    any = true;
                }
            if (any) prefix[i].add(sum);
        }
    });
    expect_means(bench, "prefix_matching", prefix);
}

INSTANTIATE_TEST_SUITE_P(Models, TokenMatching, testing::Combine(testing::Values(11, 3), testing::Bool()));

TEST(HeadProbes, AModelThatIsNotCausalLooksAhead) {
    ProbeBench bench(options_with(7, false));
    std::vector<Mean> normalized(6), distance(6), confidence(6), sink(6), profile(6 * 9);
    for (const Batch& batch : bench.eval_batches)
        for_each_sequence(bench.model, batch, [&](auto weight, auto, std::size_t i) {
            for (std::int64_t q = 0; q < 9; ++q) {
                double entropy = 0, reach = 0, largest = 0;
                for (std::int64_t k = 0; k < 9; ++k) {
                    EXPECT_GT(weight(q, k), 0);
                    entropy -= weight(q, k) * std::log(weight(q, k));
                    reach += weight(q, k) * static_cast<double>(q - k);
                    largest = std::max(largest, weight(q, k));
                    if (k <= q) profile[i * 9 + static_cast<std::size_t>(q - k)].add(weight(q, k));
                }
                normalized[i].add(entropy / std::log(9));
                distance[i].add(reach);
                confidence[i].add(largest);
                sink[i].add(weight(q, 0));
            }
        });
    expect_means(bench, "attention_entropy_normalized", normalized);
    expect_means(bench, "attention_distance", distance);
    expect_means(bench, "confidence", confidence);
    expect_means(bench, "sink", sink);
    expect_means(bench, "lag_profile", profile);
    EXPECT_EQ(bench.spec("attention_distance").minimum, -8);
    EXPECT_EQ(bench.spec("attention_distance").maximum, 8);
    EXPECT_EQ(ProbeBench(options_with(7, true)).spec("attention_distance").minimum, 0);
}

TEST(HeadProbes, SayWhatASequenceTooShortCannotShow) {
    ProbeBench one(options_with(7, true, 1)), three(options_with(7, true, 3));
    for (const char* name : {"attention_entropy_normalized", "previous_token", "duplicate_token", "induction"})
        for (const double value : one.measure(name)) EXPECT_TRUE(std::isnan(value)) << name;
    for (const double value : three.measure("induction")) EXPECT_TRUE(std::isnan(value));  // L = 1
    for (const double value : three.measure("duplicate_token")) EXPECT_GT(value, 0);
    EXPECT_EQ(one.measure("role").size(), 6u);
}

TEST(OutputCka, IsOneForClonesAndNothingForASilentHead) {
    ProbeBench bench(options_with(7, true));
    const nn::MultiHeadAttention& attention = bench.model.blocks[1]->attn;
    for (const nn::Projection projection : nn::projections)
        head_slice(attention, 2, projection).assign(head_slice(attention, 0, projection).values());
    for (Tensor bias : {attention.W_q.bias, attention.W_k.bias, attention.W_v.bias})
        std::copy_n(bias.data<double>(), 4, bias.data<double>() + 8);
    const nn::HeadSlice silent = head_slice(attention, 1, nn::Projection::o);
    silent.assign(Tensor::zeros(silent.values().shape(), DType::f64));
    const std::vector<double> cka = bench.measure("output_cka"), null = bench.measure("output_cka_null");
    EXPECT_NEAR(cka[9 + 2], 1, 1e-12);
    EXPECT_NEAR(cka[9 + 6], 1, 1e-12);
    EXPECT_NEAR(cka[0], 1, 1e-12);
    EXPECT_TRUE(std::isnan(cka[9 + 1]));
    EXPECT_TRUE(std::isnan(null[9 + 1]));
    EXPECT_EQ(bench.measure("output_norm")[4], 0);
}

}  // namespace
}  // namespace headscope::experiments
