// grad_signal against the gradients of the parts, one by one.
#include <algorithm>
#include <cmath>
#include <vector>

#include "experiments/probes/extra_pass.h"
#include "experiments/tasks/micro_batches.h"
#include "tests/experiments/probes/plain_blocks.h"

namespace headscope::experiments {
namespace {

using namespace plain;

nn::TransformerOptions model_with_dropout() {
    nn::TransformerOptions options = small_model();
    options.block.d_ff = 9;
    options.block.dropout = 0.3;
    return options;
}

/// ||mean g||^2 / mean ||g||^2 of lists of gradients.
void expect_signal(const ProbeBench& bench, const std::vector<std::vector<Tensor>>& parts,
                   const std::vector<double>& signal) {
    for_each_block([&](std::size_t index, std::int64_t layer, std::int64_t head, int projection) {
        const Tensor weight = weight_of(bench.model, layer, projection);
        std::vector<double> mean;
        double squares = 0;
        for (const auto& gradients : parts) {
            const auto own = block(of_parameter(bench.model, gradients, weight), projection, head);
            mean.resize(own.size());
            for (std::size_t i = 0; i < own.size(); ++i) mean[i] += own[i] / static_cast<double>(parts.size());
            squares += dot(own, own) / static_cast<double>(parts.size());
        }
        EXPECT_NEAR(signal[index], dot(mean, mean) / squares, 1e-12);
        EXPECT_LT(signal[index], 0.999);
    });
}

TEST(GradSignal, ComparesTheMicroBatchesOfTheStep) {
    ProbeBench bench(model_with_dropout());
    bench.batch = random_batch(6, 6, 7, "six");
    std::vector<std::vector<Tensor>> parts;
    std::int64_t part = 0;
    for (const MicroBatch& micro : split_batch(bench.batch, 2))
        parts.push_back(gradients_of(bench.context(), micro.inputs, micro.targets, 1, part++));
    expect_signal(bench, parts, bench.measure("grad_signal"));
}

TEST(GradSignal, CutsABatchThatTheStepTakesWhole) {
    for (const auto& [batch_size, expected] : {std::pair{12, 6}, {16, 8}, {7, 7}, {22, 2}}) {
        ProbeBench bench(small_model());
        bench.batch = random_batch(batch_size, 6, 7, "many");
        // No part without a target.
        for (std::int64_t b = 0; b < batch_size; ++b) bench.batch.targets.data<std::int64_t>()[b * 6] = b % 7;
        ProbeContext context = bench.context();
        context.micro_batches = 1;
        std::vector<std::vector<Tensor>> parts;
        for (const MicroBatch& micro : split_batch(bench.batch, expected))
            parts.push_back(gradients_of(context, micro.inputs, micro.targets, 1, 0));
        expect_signal(bench, parts, make_probe("grad_signal")->measure(context));
    }
}

TEST(GradSignal, IsOneWhenAllPartsAgree) {
    ProbeBench bench(small_model());
    const Batch one = random_batch(1, 6, 7, "one");
    for (Tensor Batch::*member : {&Batch::inputs, &Batch::targets})
        for (std::int64_t b = 0; b < 4; ++b)
            std::copy_n((one.*member).data<std::int64_t>(), 6, (bench.batch.*member).data<std::int64_t>() + b * 6);
    for (const double value : bench.measure("grad_signal")) EXPECT_NEAR(value, 1, 1e-12);
}

TEST(GradSignal, LeavesOutPartsWithoutTargets) {
    ProbeBench bench(small_model());
    bench.batch = random_batch(3, 6, 7, "three");
    std::fill_n(bench.batch.targets.data<std::int64_t>() + 6, 6, -1);
    ProbeContext context = bench.context();
    context.micro_batches = 1;
    std::vector<std::vector<Tensor>> parts;
    for (const MicroBatch& micro : split_batch(bench.batch, 3))
        if (micro.weight > 0) parts.push_back(gradients_of(context, micro.inputs, micro.targets, 1, 0));
    ASSERT_EQ(parts.size(), 2u);
    expect_signal(bench, parts, make_probe("grad_signal")->measure(context));
}

TEST(GradSignal, NeedsTwoParts) {
    ProbeBench bench(small_model());
    bench.batch = random_batch(1, 6, 7, "one");
    ProbeContext context = bench.context();
    context.micro_batches = 1;
    for (const double value : make_probe("grad_signal")->measure(context)) EXPECT_TRUE(std::isnan(value));
}

}  // namespace
}  // namespace headscope::experiments
