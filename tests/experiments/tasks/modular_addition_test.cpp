#include <cmath>
#include <map>
#include <set>

#include "tests/experiments/tasks/task_helpers.h"

namespace headscope::experiments {
namespace {

using Pair = std::pair<std::int64_t, std::int64_t>;

/// The pairs of a batch, after checking that each answer is their sum.
std::vector<Pair> pairs_of(const Batch& batch, std::int64_t p) {
    const auto x = values_of(batch.inputs), y = values_of(batch.targets);
    EXPECT_EQ(batch.inputs.shape(), (Shape{batch.inputs.size(0), 3}));
    EXPECT_EQ(batch.targets.shape(), batch.inputs.shape());
    std::vector<Pair> pairs;
    for (std::size_t i = 0; i < x.size(); i += 3) {
        EXPECT_TRUE(x[i] >= 0 && x[i] < p && x[i + 1] >= 0 && x[i + 1] < p);
        EXPECT_EQ(x[i + 2], p);
        EXPECT_EQ(y[i], -1);
        EXPECT_EQ(y[i + 1], -1);
        std::int64_t sum = x[i] + x[i + 1];
        while (sum >= p) sum -= p;
        EXPECT_EQ(y[i + 2], sum);
        pairs.emplace_back(x[i], x[i + 1]);
    }
    return pairs;
}

TEST(ModularAddition, TrainingAndHeldOutPartsMakeTheTable) {
    const auto task = build_task("modular_addition", {{"p", 7}, {"train_fraction", 0.6}});
    EXPECT_EQ(task->vocab_size(), 8);
    EXPECT_EQ(task->seq_len(), 3);
    EXPECT_EQ(task->fixed_batch_size(), 0);
    EXPECT_EQ(task->vocabulary().size(), 8U);
    EXPECT_EQ(task->vocabulary().back(), "=");
    std::set<Pair> train, held_out;
    for (std::int64_t step = 0; step < 200; ++step)
        for (const Pair& pair : pairs_of(task->train_batch(step, 4), 7)) train.insert(pair);
    ASSERT_EQ(task->eval_batches(8), 3);  // 49 - round(29.4) = 20 pairs: 8, 8, 4
    for (std::int64_t index = 0; index < 3; ++index)
        for (const Pair& pair : pairs_of(task->eval_batch(index, 8), 7))
            EXPECT_TRUE(held_out.insert(pair).second) << "twice";
    EXPECT_EQ(train.size(), 29U);
    EXPECT_EQ(held_out.size(), 20U);
    for (const Pair& pair : held_out) EXPECT_FALSE(train.contains(pair));
}

TEST(ModularAddition, FullBatchIsTheWholeTrainingPartAtEveryStep) {
    auto settings = task_settings("modular_addition", {{"p", 5}, {"train_fraction", 0.4}});
    Fields fields;
    settings->fields(fields);
    for (const Field& field : fields.list())
        if (field.key == "full_batch") *static_cast<bool*>(field.value) = true;
    const auto task = settings->build(7);
    ASSERT_EQ(task->fixed_batch_size(), 10);
    const auto pairs = pairs_of(task->train_batch(0, 10), 5);
    EXPECT_EQ(std::set<Pair>(pairs.begin(), pairs.end()).size(), 10U);
    EXPECT_EQ(pairs_of(task->train_batch(9, 10), 5), pairs);
}

TEST(ModularAddition, FloorsAreThoseOfTheWholeTable) {
    const std::int64_t p = 11;
    const auto floors = build_task("modular_addition", {{"p", p}})->floors();
    ASSERT_EQ(floors.size(), 2U);
    // Entropy of the answer given nothing, given one number, given both: by counting in the table.
    const auto enumerated = [&](auto known) {
        std::map<Pair, std::map<std::int64_t, double>> counts;
        for (std::int64_t a = 0; a < p; ++a)
            for (std::int64_t b = 0; b < p; ++b) ++counts[known(a, b)][a + b < p ? a + b : a + b - p];
        double entropy = 0;
        for (const auto& [context, answers] : counts) {
            double sum = 0;
            for (const auto& [answer, count] : answers) sum += count;
            for (const auto& [answer, count] : answers) entropy -= count / (p * p) * std::log(count / sum);
        }
        return entropy;
    };
    EXPECT_EQ(floors[0].name, "none");
    EXPECT_NEAR(floors[0].loss, enumerated([](auto, auto) { return Pair{}; }), 1e-12);
    EXPECT_NEAR(floors[0].loss, enumerated([](auto a, auto) { return Pair{a, 0}; }), 1e-12);
    EXPECT_EQ(floors[1].name, "sum");
    EXPECT_NEAR(floors[1].loss, enumerated([](auto a, auto b) { return Pair{a, b}; }), 1e-12);
    EXPECT_EQ(build_task("modular_addition", {})->best_floor(), "sum");
}

TEST(ModularAddition, TruthIsTheAnswer) {
    const auto task = build_task("modular_addition", {{"p", 5}});
    const Batch batch = task->eval_batch(1, 4);
    ASSERT_EQ(batch.truth.shape(), (Shape{4, 3, 6}));
    const auto y = values_of(batch.targets);
    for (std::size_t i = 0; i < y.size(); ++i)
        for (std::size_t v = 0; v < 6; ++v)
            EXPECT_EQ(batch.truth.values<double>()[i * 6 + v], y[i] == static_cast<std::int64_t>(v) ? 1 : 0);
}

TEST(ModularAddition, DataAreAFunctionOfSeedAndStep) {
    const std::map<std::string, Value> values{{"p", 13}};
    const auto task = build_task("modular_addition", values, 3);
    const auto inputs = values_of(task->train_batch(6, 8).inputs);
    EXPECT_EQ(inputs, values_of(build_task("modular_addition", values, 3)->train_batch(6, 8).inputs));
    EXPECT_NE(inputs, values_of(task->train_batch(7, 8).inputs));
    EXPECT_NE(inputs, values_of(build_task("modular_addition", values, 4)->train_batch(6, 8).inputs));
    EXPECT_EQ(values_of(task->train_batch(6, 2).inputs), std::vector(inputs.begin(), inputs.begin() + 6));
    EXPECT_NE(values_of(task->eval_batch(0, 8).inputs),
              values_of(build_task("modular_addition", values, 4)->eval_batch(0, 8).inputs));
}

TEST(ModularAddition, TheEndsOfTheSplit) {
    const auto all = build_task("modular_addition", {{"p", 3}, {"train_fraction", 1.0}});
    EXPECT_EQ(all->eval_batches(4), 0);
    const auto none = task_settings("modular_addition", {{"p", 3}, {"train_fraction", 0.01}})->check();
    ASSERT_EQ(none.size(), 1U);
    EXPECT_EQ(none[0].key, "train_fraction");
    expect_contains(none[0].message, {"train_fraction = 0.01 of 9 pairs is none", "at least 1 / p^2"});
    EXPECT_TRUE(task_settings("modular_addition", {{"p", 3}, {"train_fraction", 1.0 / 9}})->check().empty());
}

}  // namespace
}  // namespace headscope::experiments
