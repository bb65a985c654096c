#include "experiments/training/evaluation.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/experiments/probes/probe_helpers.h"
#include "tests/experiments/tasks/task_helpers.h"

namespace headscope::experiments {
namespace {

/// Truth: .75 on the target, .25 on token 0.
Batch with_truth(Batch batch, std::int64_t vocab) {
    const std::int64_t B = batch.targets.size(0), T = batch.targets.size(1);
    batch.truth = Tensor::zeros({B, T, vocab}, DType::f64);
    for (std::int64_t i = 0; i < B * T; ++i) {
        const std::int64_t target = batch.targets.data<std::int64_t>()[i];
        double* const row = batch.truth.data<double>() + i * vocab;
        if (target < 0) continue;
        row[target] += 0.75;
        row[0] += 0.25;
    }
    return batch;
}

// The loss is log sum_v e^(z_v - largest) - sum_v truth_v (z_v - largest), however large the logits z. All of them
// equal gives ln V, which is lost beside a logit of 1e18.
TEST(Evaluation, LossAgainstATruthHoldsForVeryLargeLogits) {
    ProbeBench bench(small_model());
    const std::vector<Batch> batches{with_truth(bench.eval_batches[0], 7)};
    const Tensor head = bench.model.head->weight;  // [V, d_model]
    Tensor bias = bench.model.norm->named_parameters()[1].tensor;
    for (const nn::Parameter& parameter : bench.model.norm->named_parameters()) Tensor(parameter.tensor).fill_(0);
    bias.fill_(1);  // the unembedding reads ones
    for (const double size : {1.0, 1e6, 1e9, 1e18, -1e18}) {
        Tensor(head).fill_(size);
        EXPECT_NEAR(evaluate(bench.model, bench.task, batches).loss, std::log(7), 1e-8) << size;
    }
}

TEST(Evaluation, ColumnsSayWhatLossesAreScoredAgainst) {
    // Where the targets are drawn from a known distribution, the classes' losses alone are against what was drawn.
    const auto names = [](const Task& task) {
        std::vector<std::string> names;
        for (const Column& column : evaluation_columns(task))
            if (column.name == "loss" || column.name == "loss_near") names.push_back(column.long_name);
        return names;
    };
    EXPECT_EQ(names(*build_task("lag_mixture", {})),
              (std::vector<std::string>{"evaluation loss, against true distributions",
                                        "evaluation loss of targets of class `near`, as drawn"}));
    EXPECT_EQ(names(*build_task("recall", {})), std::vector<std::string>{"evaluation loss"});
    for (const char* const type :
         {"dyck", "induction", "lag_mixture", "markov", "modular_addition", "recall", "repeat", "reversal"}) {
        const std::unique_ptr<Task> task = build_task(type, {});
        EXPECT_EQ(task->eval_batch(0, 2).truth.defined(), task->knows_truth()) << type;
    }
}

TEST(Evaluation, WithoutScoredTargetsMeasuresNothing) {
    ProbeBench bench(small_model());
    Batch batch = bench.eval_batches[0];
    batch.targets = Tensor::full(batch.targets.shape(), -1, DType::i64);
    const Evaluation nothing = evaluate(bench.model, bench.task, {batch});
    EXPECT_TRUE(std::isnan(nothing.loss));
    EXPECT_TRUE(std::isnan(nothing.accuracy));
    const Evaluation both = evaluate(bench.model, bench.task, {batch, bench.eval_batches[1]});
    EXPECT_EQ(both.loss, evaluate(bench.model, bench.task, {bench.eval_batches[1]}).loss);
}

}  // namespace
}  // namespace headscope::experiments
