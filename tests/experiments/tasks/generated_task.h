// What the tests of tasks with generated data share: floors by name, the loss of the true distribution, and the
// contract that data are a pure function of (seed, split, step, row).
#pragma once

#include <cmath>

#include "tests/experiments/tasks/task_helpers.h"

namespace headscope::experiments {

using Keys = std::vector<std::string>;

inline std::map<std::string, double> by_name(const std::vector<Floor>& lines) {
    std::map<std::string, double> named;
    for (const Floor& line : lines) named[line.name] = line.loss;
    return named;
}

inline std::map<std::string, double> floors_of(const Task& task) { return by_name(task.floors()); }
inline std::map<std::string, double> references_of(const Task& task) { return by_name(task.references()); }

/// The keys that check() complains about.
inline Keys problem_keys(const std::string& type, const std::map<std::string, Value>& values) {
    Keys found;
    for (const auto& problem : task_settings(type, values)->check()) found.push_back(problem.key);
    return found;
}

/// Sums over scored targets of what a model that predicts the true distribution loses.
struct TruthLoss {
    double entropy = 0;        ///< expected over the true distribution
    double cross_entropy = 0;  ///< against the targets drawn
    double scored = 0;
};

/// Also checks that each true distribution sums to 1, and to 0 where nothing is scored.
inline void add_truth_loss(TruthLoss& sum, const Batch& batch) {
    const std::int64_t V = batch.truth.size(2);
    ASSERT_EQ(batch.truth.shape(), (Shape{batch.inputs.size(0), batch.inputs.size(1), V}));
    const auto y = values_of(batch.targets);
    for (std::size_t i = 0; i < y.size(); ++i) {
        const double* p = batch.truth.data<double>() + static_cast<std::int64_t>(i) * V;
        double total = 0;
        for (std::int64_t v = 0; v < V; ++v) {
            total += p[v];
            if (p[v] > 0) sum.entropy -= p[v] * std::log(p[v]);
        }
        EXPECT_NEAR(total, y[i] < 0 ? 0 : 1, 1e-12);
        if (y[i] < 0) continue;
        EXPECT_GT(p[y[i]], 0);
        sum.cross_entropy -= std::log(p[y[i]]);
        ++sum.scored;
    }
}

inline void expect_same_rows(const Tensor& few, const Tensor& many) {
    ASSERT_EQ(few.defined(), many.defined());
    if (!few.defined()) return;
    const auto rows = values_of(many);
    const auto first = values_of(few);
    EXPECT_EQ(first, std::vector(rows.begin(), rows.begin() + std::ssize(first)));
}

inline void expect_pure_function(const std::string& type, const std::map<std::string, Value>& values) {
    const auto task = build_task(type, values, 3);
    const auto again = build_task(type, values, 3);
    const auto other = build_task(type, values, 4);
    EXPECT_EQ(task->eval_batches(4), -1);
    const auto inputs = values_of(task->train_batch(6, 4).inputs);
    again->train_batch(5, 3);
    EXPECT_EQ(inputs, values_of(again->train_batch(6, 4).inputs));
    EXPECT_EQ(values_of(task->eval_batch(6, 4).inputs), values_of(again->eval_batch(6, 4).inputs));
    EXPECT_NE(inputs, values_of(task->train_batch(7, 4).inputs));
    EXPECT_NE(inputs, values_of(other->train_batch(6, 4).inputs));
    EXPECT_NE(inputs, values_of(task->eval_batch(6, 4).inputs));
    // A row does not depend on the size of its batch.
    for (const auto member : {&Batch::inputs, &Batch::targets, &Batch::classes})
        expect_same_rows(task->train_batch(6, 2).*member, task->train_batch(6, 4).*member);
}

}  // namespace headscope::experiments
