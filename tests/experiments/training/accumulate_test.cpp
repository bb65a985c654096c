// train.accumulate: a step's gradients and loss are those of its parts, added by the tree.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "autograd/ops/cross_entropy.h"
#include "autograd/parallel.h"
#include "autograd/random.h"
#include "experiments/config/config.h"
#include "experiments/probes/extra_pass.h"
#include "experiments/tasks/micro_batches.h"
#include "experiments/training/training_state.h"

namespace headscope::experiments {
namespace {

Experiment experiment(std::int64_t parts, const std::string& dtype) {
    const std::string text =
        "name = \"x\"\n[task]\ntype = \"repeat\"\nvocab_size = 7\nseq_len = 8\n[model]\nd_model = 12\nnum_heads = "
        "3\nnum_layers = 1\nd_ff = 10\ndropout = 0.1\n[train]\nsteps = 4\nbatch_size = 120\n";
    return build_experiment(
        parse_config(text, "run.toml", {"train.accumulate=" + std::to_string(parts), "train.dtype=" + dtype}));
}

/// ((0 + 1) + (2 + 3)) + 4, recursively: the first 2^k parts are one side, 2^k the largest power below their number.
template <class T>
T tree_of(const std::vector<T>& values, std::size_t begin, std::size_t end) {
    if (end - begin == 1) return values[begin];
    std::size_t half = 1;
    while (2 * half < end - begin) half *= 2;
    return tree_of(values, begin, begin + half) + tree_of(values, begin + half, end);
}

/// Compares, in every step.
class ComparesWithTree : public Observer {
public:
    explicit ComparesWithTree(const Experiment& experiment) : experiment_(experiment) {}

    void at_gradients(TrainingState& state, const Batch& batch) override {
        const std::int64_t count = experiment_.config.train.accumulate;
        const ProbeContext context{.model = state.model(),
                                   .step = state.steps_done(),
                                   .seed = experiment_.config.seed,
                                   .task = *experiment_.task,
                                   .eval_batches = {},
                                   .micro_batches = count};
        std::vector<std::vector<Tensor>> parts;
        for (const MicroBatch& part : split_batch(batch, count))
            parts.push_back(
                gradients_of(context, part.inputs, part.targets, part.weight, static_cast<std::int64_t>(parts.size())));
        const auto parameters = state.model().named_parameters();
        for (std::size_t i = 0; i < parameters.size(); ++i) {
            SCOPED_TRACE(parameters[i].name);
            if (experiment_.config.train.dtype == "float64") compare<double>(parameters[i].tensor.grad(), parts, i);
            else compare<float>(parameters[i].tensor.grad(), parts, i);
        }
    }
    std::int64_t differs_from_sum_in_order = 0;

private:
    template <class T>
    void compare(const Tensor& gradient, const std::vector<std::vector<Tensor>>& parts, std::size_t index) {
        std::int64_t wrong = 0;
        for (std::int64_t element = 0; element < gradient.numel(); ++element) {
            std::vector<T> values;
            T in_order = 0;
            for (const std::vector<Tensor>& part : parts) {
                values.push_back(part[index].data<T>()[element]);
                in_order += values.back();
            }
            const T found = gradient.data<T>()[element];
            if (found != tree_of(values, 0, values.size())) ++wrong;
            if (found != in_order) ++differs_from_sum_in_order;
        }
        EXPECT_EQ(wrong, 0);
    }

    const Experiment& experiment_;
};

TEST(Accumulate, AddsItsPartsByTheTreeForAnyNumberOfThreads) {
    for (const std::string dtype : {"float32", "float64"})
        for (const std::int64_t parts : {1, 2, 3, 5, 8}) {
            SCOPED_TRACE(dtype + ", parts: " + std::to_string(parts));
            const Experiment split = experiment(parts, dtype);
            std::vector<StepResult> first;
            for (const int threads : {1, 3}) {
                const ThreadLimit limit(threads);
                TrainingState state(split);
                ComparesWithTree compare(split);
                std::vector<StepResult> results;
                for (int step = 0; step < 2; ++step) results.push_back(state.step({&compare}));
                EXPECT_EQ(compare.differs_from_sum_in_order > 0, parts > 3);
                if (first.empty()) first = results;
                for (std::size_t step = 0; step < 2; ++step) {
                    EXPECT_EQ(results[step].loss, first[step].loss);
                    EXPECT_EQ(results[step].grad_norm, first[step].grad_norm);
                }
            }
        }
}

TEST(Accumulate, AddsTheLossByTheTree) {
    const Experiment split = experiment(5, "float32");
    TrainingState state(split);
    const Batch batch = split.task->train_batch(0, 120);
    std::vector<double> losses;
    for (const MicroBatch& part : split_batch(batch, 5)) {
        const RandomScope random(static_cast<std::uint64_t>(split.config.seed), losses.size());
        losses.push_back(part.weight * cross_entropy(state.model().forward(part.inputs), part.targets).item());
    }
    EXPECT_EQ(state.step({}).loss, tree_of(losses, 0, losses.size()));
}

}  // namespace
}  // namespace headscope::experiments
