#include "experiments/probes/sequences.h"

#include <algorithm>
#include <set>

#include "tests/experiments/probes/probe_helpers.h"

namespace headscope::experiments {
namespace {

struct Sizes {
    std::int64_t vocab_size, seq_len;
};

class Sequences : public testing::TestWithParam<Sizes> {
protected:
    Sequences() : task_(GetParam().vocab_size, GetParam().seq_len), model_(options()) {}

    static nn::TransformerOptions options() {
        nn::TransformerOptions options = small_model();
        options.vocab_size = GetParam().vocab_size;
        options.max_len = GetParam().seq_len;
        return options;
    }
    ProbeContext context(std::int64_t seed = 4, std::int64_t step = 0) {
        return {.model = model_, .step = step, .seed = seed, .task = task_, .eval_batches = batches_};
    }

    void expect_periodic(const Batch& batch, const std::vector<std::int64_t>& periods) {
        const auto [V, T] = GetParam();
        ASSERT_EQ(batch.inputs.shape(), (Shape{16, T}));
        ASSERT_EQ(batch.targets.shape(), (Shape{16, T}));
        for (std::int64_t b = 0; b < 16; ++b) {
            const std::int64_t period = periods[static_cast<std::size_t>(b)];
            const std::int64_t* x = batch.inputs.data<std::int64_t>() + b * T;
            const std::int64_t* y = batch.targets.data<std::int64_t>() + b * T;
            EXPECT_GE(*std::min_element(x, x + T), 0);
            EXPECT_LT(*std::max_element(x, x + T), V);
            const std::size_t distinct = std::set<std::int64_t>(x, x + period).size();
            EXPECT_TRUE(period > V || distinct == static_cast<std::size_t>(period));
            for (std::int64_t t = 0; t < T; ++t) {
                EXPECT_EQ(x[t], x[t % period]);
                EXPECT_EQ(y[t], t >= period && t + 1 < T ? x[t + 1] : -1) << t;
            }
        }
    }

    RandomTask task_;
    nn::Transformer model_;
    std::vector<Batch> batches_;
};

TEST_P(Sequences, RepeatHalfOfTheLength) {
    const std::int64_t L = repeated_length(GetParam().seq_len);
    EXPECT_EQ(L, std::max<std::int64_t>(1, GetParam().seq_len / 2));
    expect_periodic(repeated_batch(context()), std::vector<std::int64_t>(16, L));
}

TEST_P(Sequences, RepeatWithPeriodsOfTheirOwn) {
    const std::vector<std::int64_t> periods = random_periods(context());
    const std::int64_t L = repeated_length(GetParam().seq_len);
    ASSERT_EQ(periods.size(), 16u);
    for (const std::int64_t period : periods) {
        EXPECT_GE(period, std::min<std::int64_t>(2, L));
        EXPECT_LE(period, L);
    }
    EXPECT_GE(std::set<std::int64_t>(periods.begin(), periods.end()).size(), L > 3 ? 3u : 1u);
    expect_periodic(random_periods_batch(context()), periods);
}

TEST_P(Sequences, DependOnTheSeedAlone) {
    for (const auto make : {repeated_batch, random_periods_batch}) {
        const auto tokens = [&](std::int64_t seed, std::int64_t step) {
            const Tensor inputs = make(context(seed, step)).inputs;
            const auto values = inputs.values<std::int64_t>();
            return std::vector<std::int64_t>(values.begin(), values.end());
        };
        const auto first = tokens(4, 0);
        EXPECT_EQ(first, tokens(4, 9));
        EXPECT_NE(first, tokens(5, 0));
        const auto length = static_cast<std::size_t>(GetParam().seq_len);
        const auto second = first.begin() + static_cast<std::ptrdiff_t>(length);
        EXPECT_TRUE(length < 8 || !std::equal(first.begin(), second, second));
    }
}

TEST_P(Sequences, ComeByTheirSource) {
    batches_.push_back(task_.eval_batch(0, 2));
    batches_.push_back(task_.eval_batch(1, 3));
    EXPECT_EQ(batches_of(SequenceSource::evaluation, context()).size(), 2u);
    EXPECT_EQ(batches_of(SequenceSource::repeated, context()).size(), 1u);
    expect_periodic(batches_of(SequenceSource::random_periods, context()).at(0), random_periods(context()));
}

INSTANTIATE_TEST_SUITE_P(Of, Sequences, testing::Values(Sizes{11, 19}, Sizes{5, 32}, Sizes{2, 6}, Sizes{3, 1}));

}  // namespace
}  // namespace headscope::experiments
