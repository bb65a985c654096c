#include "experiments/tasks/generated.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/experiments/tasks/generated_task.h"

namespace headscope::experiments {
namespace {

/// T = 3, three numbers: each token is a number of the stream's; only the middle one is scored, and of class 1.
class FrameRule : public SequenceRule {
public:
    static inline int lines_asked = 0;

    void fields(Fields& fields) override { fields.integer("vocab_size", vocab_size_, "different tokens", {.min = 2}); }
    std::vector<KeyProblem> check() const override {
        if (vocab_size_ % 2 == 0) return {};
        return {{"vocab_size", "odd"}};
    }
    void prepare(std::uint64_t seed) override { seeds_.push_back(seed); }
    std::int64_t vocab_size() const override { return vocab_size_; }
    std::int64_t seq_len() const override { return 3; }
    std::vector<std::string> class_names() const override { return {"other", "middle"}; }
    std::int64_t numbers() const override { return 3; }
    void draw(const SequenceRandom& random, const Sequence& sequence) const override {
        for (std::int64_t t = 0; t < 3; ++t) sequence.inputs[t] = random.below(vocab_size_, t);
        sequence.targets[1] = sequence.inputs[2];
        sequence.classes[1] = 1;
    }
    Lines lines() const override {
        ++lines_asked;
        std::vector<Floor> seeds;
        for (const auto seed : seeds_) seeds.push_back({"prepared", static_cast<double>(seed)});
        return {{{"none", 2}, {"all", 0.5}}, seeds};
    }

private:
    std::int64_t vocab_size_ = 10;
    std::vector<std::uint64_t> seeds_;
};
const RegisterGenerated<FrameRule> registered_frame("frame", "for tests");

/// Without classes, true distribution and floors.
class PlainRule : public FrameRule {
public:
    std::vector<std::string> class_names() const override { return {}; }
    bool knows_truth() const override { return false; }
    void draw(const SequenceRandom& random, const Sequence& sequence) const override {
        EXPECT_EQ(sequence.classes, nullptr);
        for (std::int64_t t = 0; t < 3; ++t) sequence.inputs[t] = random.below(vocab_size(), t);
    }
    Lines lines() const override { return {}; }
};
const RegisterGenerated<PlainRule> registered_plain("plain", "for tests");

TEST(GeneratedTask, EachRowHasItsOwnNumbersOfTheSplitsStream) {
    const auto task = build_task("frame", {{"vocab_size", 1000}}, 5);
    const auto expect_stream = [](const Batch& batch, const std::string& name, std::uint64_t step) {
        ASSERT_EQ(batch.inputs.shape(), (Shape{4, 3}));
        const RandomStream random(5, name, step);
        const auto x = values_of(batch.inputs);
        for (std::size_t i = 0; i < 12; ++i) EXPECT_EQ(x[i], static_cast<std::int64_t>(random.below(1000, i))) << i;
    };
    expect_stream(task->train_batch(8, 4), "frame.train", 8);
    expect_stream(task->eval_batch(8, 4), "frame.eval", 8);
    expect_pure_function("frame", {{"vocab_size", 1000}});
}

TEST(GeneratedTask, WhatARuleDoesNotWriteIsNotScored) {
    const auto task = build_task("frame", {});
    const Batch train = task->train_batch(2, 4), eval = task->eval_batch(2, 4);
    EXPECT_FALSE(train.truth.defined());
    ASSERT_EQ(eval.truth.shape(), (Shape{4, 3, 10}));
    for (const Batch& batch : {train, eval}) {
        const auto x = values_of(batch.inputs), y = values_of(batch.targets), kind = values_of(batch.classes);
        for (std::size_t i = 0; i < 12; ++i) {
            EXPECT_EQ(y[i], i % 3 == 1 ? x[i + 1] : -1);
            EXPECT_EQ(kind[i], i % 3 == 1 ? 1 : -1);
        }
    }
    // Certain unless the rule says otherwise.
    TruthLoss sum;
    add_truth_loss(sum, eval);
    EXPECT_EQ(sum.scored, 4);
    EXPECT_EQ(sum.cross_entropy, 0);
}

TEST(GeneratedTask, ClassesAndTruthAreOnlyThereWhereKnown) {
    const auto task = build_task("plain", {});
    EXPECT_FALSE(task->train_batch(2, 4).classes.defined());
    EXPECT_FALSE(task->eval_batch(2, 4).classes.defined());
    EXPECT_FALSE(task->eval_batch(2, 4).truth.defined());
    EXPECT_TRUE(task->floors().empty());
    EXPECT_EQ(task->best_floor(), "");
}

TEST(GeneratedTask, FloorsAreWorkedOutOnce) {
    const auto task = build_task("frame", {});
    FrameRule::lines_asked = 0;
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(floors_of(*task), (std::map<std::string, double>{{"none", 2}, {"all", 0.5}}));
        EXPECT_EQ(task->best_floor(), "all");
        EXPECT_EQ(task->references().size(), 1U);
    }
    EXPECT_EQ(FrameRule::lines_asked, 1);
}

TEST(GeneratedTask, EachTaskHasARuleOfItsOwnPreparedOnce) {
    const auto settings = task_settings("frame", {{"vocab_size", 12}});
    const auto one = settings->build(3), two = settings->build(4);
    EXPECT_EQ(references_of(*one), (std::map<std::string, double>{{"prepared", 3}}));
    EXPECT_EQ(references_of(*two), (std::map<std::string, double>{{"prepared", 4}}));
    EXPECT_EQ(two->references().size(), 1U);
    EXPECT_EQ(two->vocab_size(), 12);
    EXPECT_EQ(problem_keys("frame", {{"vocab_size", 11}}), Keys{"vocab_size"});
}

TEST(GeneratedTask, EveryTypeHasSequencesAtItsSmallestSizes) {
    const std::map<std::string, std::map<std::string, Value>> smallest = {
        {"dyck", {{"kinds", 1}, {"length", 2}, {"max_depth", 1}}},
        {"induction", {{"vocab_size", 2}, {"seq_len", 3}, {"min_period", 1}, {"max_period", 1}, {"max_start", 0}}},
        {"lag_mixture", {{"vocab_size", 2}, {"seq_len", 2}, {"near", 0}, {"far", 1}}},
        {"markov", {{"states", 2}, {"seq_len", 1}}},
        {"recall", {{"vocab_size", 4}, {"seq_len", 4}, {"pairs", 1}}},
        {"repeat", {{"vocab_size", 2}, {"seq_len", 2}}},
        {"reversal", {{"vocab_size", 2}, {"length", 1}}}};
    for (const auto& [type, values] : smallest) {
        SCOPED_TRACE(type);
        ASSERT_EQ(problem_keys(type, values), Keys{});
        const auto task = build_task(type, values);
        const Batch batch = task->eval_batch(0, 5);
        const auto x = values_of(batch.inputs), y = values_of(batch.targets);
        for (const std::int64_t token : x) EXPECT_TRUE(token >= 0 && token < task->vocab_size());
        EXPECT_GE(std::ranges::count_if(y, [](auto target) { return target >= 0; }), 5);
        TruthLoss sum;
        if (batch.truth.defined()) add_truth_loss(sum, batch);
        for (const Floor& floor : task->floors()) {
            EXPECT_GE(floor.loss, 0) << floor.name;
            EXPECT_LE(floor.loss, std::log(task->vocab_size()) + 1e-8) << floor.name;
        }
    }
}

}  // namespace
}  // namespace headscope::experiments
