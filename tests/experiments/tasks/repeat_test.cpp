#include <cmath>
#include <set>

#include "tests/experiments/tasks/generated_task.h"

namespace headscope::experiments {
namespace {

TEST(Repeat, FloorOfTheReferenceTable) {
    const auto task = build_task("repeat", {{"vocab_size", 64}, {"seq_len", 32}});
    EXPECT_NEAR(floors_of(*task).at("none"), std::log(64), 1e-12);
    EXPECT_NEAR(floors_of(*task).at("copy"), 2.0124, 5e-5);
    EXPECT_EQ(task->best_floor(), "copy");
}

TEST(Repeat, FloorIsTheEntropyOfAllStrings) {
    // Every string of L = 4 over V = 3 is as likely: the entropy of a sequence given its first token, by listing them.
    const auto task = build_task("repeat", {{"vocab_size", 3}, {"seq_len", 8}});
    std::set<std::vector<std::int64_t>> after_zero;
    for (std::int64_t step = 0; step < 300; ++step) {
        const auto x = values_of(task->train_batch(step, 5).inputs);
        for (std::size_t b = 0; b < 5; ++b)
            if (x[b * 8] == 0)
                after_zero.emplace(x.begin() + static_cast<std::ptrdiff_t>(b * 8),
                                   x.begin() + static_cast<std::ptrdiff_t>(b * 8 + 8));
    }
    ASSERT_EQ(after_zero.size(), 27U);
    EXPECT_NEAR(floors_of(*task).at("copy"), std::log(27) / 7, 1e-12);
}

TEST(Repeat, TheSecondHalfRepeatsTheFirst) {
    const auto task = build_task("repeat", {{"vocab_size", 5}, {"seq_len", 6}});
    ASSERT_EQ(task->class_names(), (std::vector<std::string>{"first", "repeat"}));
    std::vector<double> share(5);
    for (std::int64_t step = 0; step < 500; ++step) {
        const Batch batch = task->train_batch(step, 4);
        ASSERT_EQ(batch.inputs.shape(), (Shape{4, 6}));
        EXPECT_FALSE(batch.truth.defined());
        const auto x = values_of(batch.inputs), y = values_of(batch.targets), kind = values_of(batch.classes);
        for (std::size_t i = 0; i < x.size(); ++i) {
            const std::size_t t = i % 6;
            if (t < 3) share[static_cast<std::size_t>(x[i])] += 1.0 / (500 * 4 * 3);
            if (t >= 3) {
                EXPECT_EQ(x[i], x[i - 3]);
            }
            EXPECT_EQ(y[i], t == 5 ? -1 : x[i + 1]);
            EXPECT_EQ(kind[i], t == 5 ? -1 : t < 2 ? 0 : 1);
        }
    }
    for (const double value : share) EXPECT_NEAR(value, 0.2, 0.02);
}

TEST(Repeat, TruthScoresTheFloor) {
    const auto task = build_task("repeat", {{"vocab_size", 5}, {"seq_len", 6}});
    TruthLoss sum;
    add_truth_loss(sum, task->eval_batch(2, 7));
    EXPECT_EQ(sum.scored, 7 * 5);
    EXPECT_NEAR(sum.entropy / sum.scored, floors_of(*task).at("copy"), 1e-12);
    EXPECT_NEAR(sum.cross_entropy, sum.entropy, 1e-12);  // uniform or certain: the same for every draw
}

TEST(Repeat, DataAreAFunctionOfSeedSplitStepAndRow) {
    expect_pure_function("repeat", {{"vocab_size", 5}, {"seq_len", 6}});
}

TEST(Repeat, OddLengthsAreNamed) {
    EXPECT_EQ(problem_keys("repeat", {}), Keys{});
    EXPECT_EQ(problem_keys("repeat", {{"seq_len", 7}}), Keys{"seq_len"});
}

}  // namespace
}  // namespace headscope::experiments
