#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>

#include "tests/experiments/tasks/generated_task.h"

namespace headscope::experiments {
namespace {

/// V = 9, T = 11, periods 2 to 4, starts 0 to 3.
std::map<std::string, Value> small(const std::string& score) {
    return {{"vocab_size", 9}, {"seq_len", 11},  {"min_period", 2},
            {"max_period", 4}, {"max_start", 3}, {"score", score}};
}

/// Start + period: where the first token comes that has been before. Here x has one, since T > max_start + max_period.
std::size_t first_repetition(const std::vector<std::int64_t>& x) {
    std::set<std::int64_t> seen;
    std::size_t t = 0;
    while (seen.insert(x[t]).second) ++t;
    return t;
}

std::vector<std::int64_t> row(const Tensor& tensor, std::int64_t b) {
    const auto values = values_of(tensor);
    const auto T = tensor.size(1);
    return {values.begin() + b * T, values.begin() + (b + 1) * T};
}

TEST(Induction, BlocksRepeatToTheEnd) {
    for (const std::string score : {"repeat", "all"}) {
        const auto task = build_task("induction", small(score));
        ASSERT_EQ(task->class_names(), (Keys{"first", "repeat"}));
        std::map<std::pair<std::size_t, std::size_t>, double> share;  // of (start, period)
        const std::int64_t rows = 24000;
        for (std::int64_t step = 0; step < rows / 8; ++step) {
            const Batch batch = task->train_batch(step, 8);
            ASSERT_EQ(batch.inputs.shape(), (Shape{8, 11}));
            EXPECT_FALSE(batch.truth.defined());
            for (std::int64_t b = 0; b < 8; ++b) {
                const auto x = row(batch.inputs, b), y = row(batch.targets, b), kind = row(batch.classes, b);
                EXPECT_TRUE(std::ranges::all_of(x, [](auto v) { return v >= 0 && v < 9; }));
                const std::size_t end = first_repetition(x);
                const auto start = static_cast<std::size_t>(std::ranges::find(x, x[end]) - x.begin());
                const std::size_t period = end - start;
                share[{start, period}] += 1.0 / static_cast<double>(rows);
                for (std::size_t t = 0; t < 11; ++t) {
                    if (t >= end) {
                        EXPECT_EQ(x[t], x[t - period]);
                    }
                    EXPECT_EQ(kind[t], t == 10 ? -1 : t < end ? 0 : 1);
                    const bool scored = t < 10 && (t >= end || score == "all");
                    EXPECT_EQ(y[t], scored ? x[t + 1] : -1);
                }
            }
        }
        ASSERT_EQ(share.size(), 12U);
        for (const auto& [pair, value] : share) {
            EXPECT_LE(pair.first, 3U);
            EXPECT_TRUE(pair.second >= 2 && pair.second <= 4);
            EXPECT_NEAR(value, 1.0 / 12, 0.01);
        }
    }
}

/// All equally likely sequences of a small setting, by brute force: V = 5, T = 7, periods 1 to 3, starts 0 to 2. The
/// probability of each, over starts, periods and orders of tokens.
std::map<std::vector<std::int64_t>, double> all_sequences() {
    std::map<std::vector<std::int64_t>, double> found;
    std::vector<std::int64_t> order{0, 1, 2, 3, 4};
    do {
        for (std::size_t start = 0; start <= 2; ++start) {
            for (std::size_t period = 1; period <= 3; ++period) {
                std::vector<std::int64_t> x(order.begin(), order.end());
                x.resize(start + period);
                while (x.size() < 7) x.push_back(x[x.size() - period]);
                found[x] += 1.0 / (120 * 9);
            }
        }
    } while (std::ranges::next_permutation(order).found);
    return found;
}

TEST(Induction, FloorAndTruthAreThoseOfAllSequences) {
    const auto sequences = all_sequences();
    // P(prefix), from which P(next | prefix) and the entropy at each position follow.
    std::map<std::vector<std::int64_t>, double> prefixes;
    for (const auto& [x, p] : sequences)
        for (std::ptrdiff_t size = 1; size <= 7; ++size) prefixes[{x.begin(), x.begin() + size}] += p;
    double entropy = 0;
    for (const auto& [x, p] : prefixes)
        if (x.size() > 1) entropy -= p * std::log(p / prefixes.at({x.begin(), x.end() - 1}));

    const auto task = build_task(
        "induction",
        {{"vocab_size", 5}, {"seq_len", 7}, {"min_period", 1}, {"max_period", 3}, {"max_start", 2}, {"score", "all"}});
    EXPECT_NEAR(floors_of(*task).at("copy"), entropy / 6, 1e-12);
    for (std::int64_t index = 0; index < 20; ++index) {
        const Batch batch = task->eval_batch(index, 3);
        for (std::int64_t b = 0; b < 3; ++b) {
            const auto x = row(batch.inputs, b);
            ASSERT_TRUE(sequences.contains(x));
            for (std::int64_t t = 0; t < 6; ++t) {
                std::vector<std::int64_t> prefix(x.begin(), x.begin() + t + 1);
                const double p = prefixes.at(prefix);
                prefix.push_back(0);
                for (std::int64_t v = 0; v < 5; ++v) {
                    prefix.back() = v;
                    const double next = prefixes.contains(prefix) ? prefixes.at(prefix) / p : 0;
                    EXPECT_NEAR(batch.truth.data<double>()[(b * 7 + t) * 5 + v], next, 1e-12);
                }
            }
        }
    }
}

TEST(Induction, FloorsAreWhatLongSimulationsGive) {
    for (const std::string score : {"repeat", "all"}) {
        const auto task = build_task("induction", small(score));
        const auto floors = floors_of(*task);
        TruthLoss truth;
        double block = 0;
        for (std::int64_t index = 0; index < 1000; ++index) {
            const Batch batch = task->eval_batch(index, 8);
            add_truth_loss(truth, batch);
            for (std::int64_t b = 0; b < 8; ++b) {
                const auto x = row(batch.inputs, b);
                const std::size_t end = first_repetition(x);
                const auto start = static_cast<std::size_t>(std::ranges::find(x, x[end]) - x.begin());
                block += static_cast<double>(10 - end) * std::log(static_cast<double>(end - start));
            }
        }
        EXPECT_NEAR(floors.at("none"), std::log(9), 1e-12);
        EXPECT_NEAR(truth.entropy / truth.scored, floors.at("copy"), score == "all" ? 0.01 : 1e-12) << score;
        EXPECT_NEAR(truth.cross_entropy / truth.scored, floors.at("copy"), score == "all" ? 0.02 : 1e-12) << score;
        EXPECT_NEAR((truth.entropy + block) / truth.scored, floors.at("block"), 0.02) << score;
        EXPECT_EQ(task->best_floor(), "copy");
    }
}

TEST(Induction, DeterminedTargetsHaveFloorZero) {
    EXPECT_EQ(floors_of(*build_task("induction", {})).at("copy"), 0);
    EXPECT_GT(floors_of(*build_task("induction", {{"score", "all"}})).at("copy"), 0.5);
}

TEST(Induction, FloorsOfManyLongBlocksTakeNoTime) {
    const auto start = std::chrono::steady_clock::now();
    const auto task = build_task("induction", {{"vocab_size", 2000},
                                               {"seq_len", 2100},
                                               {"min_period", 1},
                                               {"max_period", 1000},
                                               {"max_start", 1000},
                                               {"score", "all"}});
    const auto floors = floors_of(*task);
    EXPECT_GT(floors.at("copy"), 0);
    EXPECT_LT(floors.at("copy"), floors.at("block"));
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(Induction, DataAreAFunctionOfSeedSplitStepAndRow) {
    expect_pure_function("induction", small("repeat"));
    expect_pure_function("induction", small("all"));
}

TEST(Induction, ImpossibleCombinationsAreNamed) {
    EXPECT_EQ(problem_keys("induction", {}), Keys{});
    EXPECT_EQ(problem_keys("induction", {{"vocab_size", 32}, {"seq_len", 34}}), Keys{});
    EXPECT_EQ(problem_keys("induction", {{"vocab_size", 31}}), Keys{"vocab_size"});
    EXPECT_EQ(problem_keys("induction", {{"seq_len", 33}}), Keys{"seq_len"});
    EXPECT_EQ(problem_keys("induction", {{"min_period", 25}}), Keys{"min_period"});
    EXPECT_EQ(problem_keys("induction", {{"max_period", 60}}), (Keys{"vocab_size", "seq_len"}));
}

}  // namespace
}  // namespace headscope::experiments
