#include <cmath>
#include <map>
#include <numeric>

#include "tests/experiments/tasks/generated_task.h"

namespace headscope::experiments {
namespace {

std::map<std::string, Value> small(const std::string& score) {
    return {{"vocab_size", 3}, {"length", 4}, {"score", score}};
}

/// Entropy of the scored targets given what `known` makes of the inputs up to their position, over all 3^4 strings,
/// written out here and not asked from the task.
template <class Known>
double enumerated(std::size_t first_scored, Known&& known) {
    std::map<std::vector<std::int64_t>, std::map<std::int64_t, double>> counts;
    double total = 0;
    for (std::int64_t code = 0; code < 81; ++code) {
        const std::vector<std::int64_t> s{code % 3, code / 3 % 3, code / 9 % 3, code / 27};
        const std::vector<std::int64_t> all{s[0], s[1], s[2], s[3], 3, s[3], s[2], s[1], s[0]};
        for (std::size_t t = first_scored; t < 8; ++t) {
            const auto here = all.begin() + static_cast<std::ptrdiff_t>(t);
            ++counts[known(std::vector<std::int64_t>(all.begin(), here + 1))][*(here + 1)];
            ++total;
        }
    }
    double entropy = 0;
    for (const auto& [context, targets] : counts) {
        double sum = 0;
        for (const auto& [target, count] : targets) sum += count;
        for (const auto& [target, count] : targets) entropy -= count / total * std::log(count / sum);
    }
    return entropy;
}

TEST(Reversal, FloorsAreThoseOfAllStrings) {
    using Tokens = std::vector<std::int64_t>;
    const auto whole = [](const Tokens& prefix) { return prefix; };
    const auto place = [](const Tokens& prefix) { return Tokens{prefix.size() == 4}; };
    const auto reverse = floors_of(*build_task("reversal", small("reverse")));
    EXPECT_NEAR(reverse.at("reversal"), enumerated(4, whole), 1e-12);
    EXPECT_NEAR(reverse.at("none"), enumerated(4, place), 1e-12);
    const auto all = floors_of(*build_task("reversal", small("all")));
    EXPECT_NEAR(all.at("reversal"), enumerated(0, whole), 1e-12);
    EXPECT_NEAR(all.at("none"), enumerated(0, place), 1e-12);
    EXPECT_NEAR(all.at("reversal"), 3.0 / 8 * std::log(3), 1e-12);
    EXPECT_EQ(reverse.size(), 2U);
    EXPECT_EQ(build_task("reversal", {})->best_floor(), "reversal");
}

TEST(Reversal, SequencesAreAStringASeparatorAndTheStringReversed) {
    const auto task = build_task("reversal", small("all"));
    EXPECT_EQ(task->vocab_size(), 4);
    EXPECT_EQ(task->seq_len(), 8);
    ASSERT_EQ(task->class_names(), (std::vector<std::string>{"string", "separator", "reverse"}));
    std::vector<std::int64_t> seen(3);
    for (std::int64_t step = 0; step < 100; ++step) {
        const Batch batch = task->train_batch(step, 5);
        ASSERT_EQ(batch.inputs.shape(), (Shape{5, 8}));
        EXPECT_FALSE(batch.truth.defined());
        const auto x = values_of(batch.inputs), y = values_of(batch.targets), kind = values_of(batch.classes);
        for (std::size_t row = 0; row < 5; ++row) {
            std::vector<std::int64_t> all(x.begin() + static_cast<std::ptrdiff_t>(row * 8),
                                          x.begin() + static_cast<std::ptrdiff_t>(row * 8 + 8));
            all.push_back(y[row * 8 + 7]);
            EXPECT_EQ(all[4], 3);
            for (std::size_t i = 0; i < 4; ++i) {
                ASSERT_TRUE(all[i] >= 0 && all[i] < 3);
                EXPECT_EQ(all[8 - i], all[i]);
                ++seen[static_cast<std::size_t>(all[i])];
            }
            for (std::size_t t = 0; t < 8; ++t) {
                EXPECT_EQ(y[row * 8 + t], all[t + 1]);
                EXPECT_EQ(kind[row * 8 + t], t < 3 ? 0 : t == 3 ? 1 : 2);
            }
        }
    }
    for (const std::int64_t count : seen) EXPECT_NEAR(static_cast<double>(count), 2000 / 3.0, 80);
}

TEST(Reversal, OnlyTheSecondHalfIsScoredByDefault) {
    const auto task = build_task("reversal", {{"vocab_size", 5}, {"length", 3}});
    const Batch batch = task->train_batch(2, 4);
    const auto y = values_of(batch.targets), kind = values_of(batch.classes);
    for (std::size_t i = 0; i < y.size(); ++i) {
        EXPECT_EQ(y[i] >= 0, i % 6 >= 3);
        EXPECT_EQ(kind[i], i % 6 >= 3 ? 2 : -1);
    }
}

TEST(Reversal, TruthIsUniformInTheStringAndCertainElsewhere) {
    for (const std::string score : {"all", "reverse"}) {
        const auto task = build_task("reversal", small(score));
        const Batch batch = task->eval_batch(1, 5);
        ASSERT_EQ(batch.truth.shape(), (Shape{5, 8, 4}));
        TruthLoss sum;
        add_truth_loss(sum, batch);
        EXPECT_NEAR(sum.entropy / sum.scored, floors_of(*task).at("reversal"), 1e-12);
        EXPECT_NEAR(sum.cross_entropy, sum.entropy, 1e-12);  // uniform or certain: the same for every draw
    }
}

TEST(Reversal, DataAreAFunctionOfSeedSplitStepAndRow) {
    expect_pure_function("reversal", small("all"));
    expect_pure_function("reversal", small("reverse"));
}

}  // namespace
}  // namespace headscope::experiments
