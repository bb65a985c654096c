#include <algorithm>
#include <cmath>
#include <set>

#include "tests/experiments/tasks/generated_task.h"

namespace headscope::experiments {
namespace {

/// V = 13 (keys 1 to 5, values 6 to 12), T = 21: 3 pairs and 7 slots, the last place in none.
std::map<std::string, Value> small() {
    return {{"vocab_size", 13}, {"seq_len", 21}, {"pairs", 3}, {"gap_exponent", 0.7}};
}

TEST(Recall, EachKeyIsAskedForOnceAndOnlyAnswersAreScored) {
    const auto task = build_task("recall", small());
    std::vector<double> share(7);  // of slots, for the first pair
    std::set<std::int64_t> keys, values, fillers;
    for (std::int64_t step = 0; step < 5000; ++step) {
        const Batch batch = task->train_batch(step, 4);
        ASSERT_EQ(batch.inputs.shape(), (Shape{4, 21}));
        const auto all_x = values_of(batch.inputs), all_y = values_of(batch.targets);
        for (std::size_t b = 0; b < 4; ++b) {
            const auto* x = all_x.data() + b * 21;
            const auto* y = all_y.data() + b * 21;
            std::map<std::int64_t, std::int64_t> value_of;
            std::set<std::int64_t> different;
            for (std::size_t i = 0; i < 3; ++i) {
                value_of[x[2 * i]] = x[2 * i + 1];
                different.insert(x[2 * i + 1]);
                keys.insert(x[2 * i]);
                values.insert(x[2 * i + 1]);
            }
            ASSERT_EQ(value_of.size(), 3U);
            ASSERT_EQ(different.size(), 3U);
            std::set<std::int64_t> asked;
            for (std::size_t t = 0; t < 21; ++t) {
                if (y[t] < 0) {
                    EXPECT_EQ(y[t], -1);
                    if (t >= 6) fillers.insert(x[t]);
                    continue;
                }
                ASSERT_TRUE(t >= 6 && t < 20 && t % 2 == 0) << t;
                EXPECT_EQ(y[t], value_of.at(x[t]));
                EXPECT_TRUE(asked.insert(x[t]).second);
                if (x[t] == x[0]) share[(t - 6) / 2] += 1.0 / 20000;
            }
            EXPECT_EQ(asked.size(), 3U);
        }
    }
    EXPECT_EQ(keys, (std::set<std::int64_t>{1, 2, 3, 4, 5}));
    EXPECT_EQ(values, (std::set<std::int64_t>{6, 7, 8, 9, 10, 11, 12}));
    EXPECT_EQ(fillers.size(), 13U);
    double total = 0;
    for (int g = 1; g <= 7; ++g) total += std::pow(g, -0.7);
    for (std::size_t g = 0; g < 7; ++g)
        EXPECT_NEAR(share[g], std::pow(static_cast<double>(g + 1), -0.7) / total, 0.012) << g;
}

TEST(Recall, FloorsAreWhatCountingGives) {
    const auto task = build_task("recall", small());
    const auto floors = floors_of(*task);
    EXPECT_EQ(task->best_floor(), "recall");
    EXPECT_EQ(floors.at("recall"), 0);
    EXPECT_NEAR(floors.at("none"), std::log(13), 1e-12);
    // Entropy of the answer among all values, and of its place among the pairs.
    std::map<std::int64_t, double> answers;
    std::vector<double> places(3);
    double scored = 0;
    for (std::int64_t index = 0; index < 3000; ++index) {
        const Batch batch = task->eval_batch(index, 4);
        const auto x = values_of(batch.inputs), y = values_of(batch.targets);
        for (std::size_t i = 0; i < y.size(); ++i) {
            if (y[i] < 0) continue;
            ++answers[y[i]];
            ++scored;
            for (std::size_t pair = 0; pair < 3; ++pair)
                if (x[i - i % 21 + 2 * pair + 1] == y[i]) ++places[pair];
        }
    }
    double among_values = 0, among_seen = 0;
    for (const auto& [answer, count] : answers) among_values -= count / scored * std::log(count / scored);
    for (const double count : places) among_seen -= count / scored * std::log(count / scored);
    EXPECT_NEAR(floors.at("values"), among_values, 0.002);
    EXPECT_NEAR(floors.at("seen"), among_seen, 1e-12);
    EXPECT_NEAR(floors.at("seen"), std::log(3), 1e-12);
}

TEST(Recall, SlotsCanAllBeTakenAndCanBeUniform) {
    const auto task = build_task("recall", {{"vocab_size", 14}, {"seq_len", 20}, {"pairs", 5}, {"gap_exponent", 0.0}});
    std::vector<double> share(5);
    for (std::int64_t step = 0; step < 4000; ++step) {
        const auto x = values_of(task->train_batch(step, 1).inputs), y = values_of(task->train_batch(step, 1).targets);
        for (std::size_t g = 0; g < 5; ++g) {
            EXPECT_GE(y[10 + 2 * g], 7);
            if (x[10 + 2 * g] == x[4]) share[g] += 1.0 / 4000;
        }
    }
    for (const double value : share) EXPECT_NEAR(value, 0.2, 0.03);
}

TEST(Recall, DataAreAFunctionOfSeedSplitStepAndRow) { expect_pure_function("recall", small()); }

TEST(Recall, ImpossibleCombinationsAreNamed) {
    EXPECT_EQ(problem_keys("recall", {}), Keys{});
    EXPECT_EQ(problem_keys("recall", {{"vocab_size", 18}, {"seq_len", 32}}), Keys{});
    EXPECT_EQ(problem_keys("recall", {{"vocab_size", 17}}), Keys{"pairs"});
    EXPECT_EQ(problem_keys("recall", {{"seq_len", 31}}), Keys{"seq_len"});
    EXPECT_EQ(problem_keys("recall", {{"pairs", 40}}), (Keys{"pairs", "seq_len"}));
}

}  // namespace
}  // namespace headscope::experiments
