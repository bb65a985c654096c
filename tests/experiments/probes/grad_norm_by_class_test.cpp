// grad_norm_by_class against gradients of the loss with all other targets taken out.
#include <algorithm>
#include <cmath>
#include <vector>

#include "experiments/probes/extra_pass.h"
#include "experiments/tasks/micro_batches.h"
#include "tests/experiments/probes/plain_blocks.h"

namespace headscope::experiments {
namespace {

using namespace plain;

/// Of the training batch, by micro-batch: the gradients of the mean over the targets that `keep` (by position in the
/// batch) leaves, times their share of all scored targets.
template <class Keep>
std::vector<Tensor> gradients_of_share(ProbeBench& bench, Keep&& keep) {
    const double scored = static_cast<double>(
        std::ranges::count_if(bench.batch.targets.values<std::int64_t>(), [](std::int64_t t) { return t >= 0; }));
    std::vector<Tensor> sums;
    std::int64_t part = 0, first = 0;
    for (const MicroBatch& micro : split_batch(bench.batch, bench.micro_batches)) {
        Tensor targets = micro.targets.clone();
        double kept = 0;
        for (std::int64_t i = 0; i < targets.numel(); ++i) {
            std::int64_t& target = targets.data<std::int64_t>()[i];
            if (!keep(first + i)) target = -1;
            kept += target >= 0;
        }
        first += targets.numel();
        const auto own = gradients_of(bench.context(), micro.inputs, targets, kept / scored, part++);
        if (sums.empty()) sums = own;
        else
            for (std::size_t i = 0; i < sums.size(); ++i) sums[i] = sums[i] + own[i];
    }
    return sums;
}

nn::TransformerOptions model_with_dropout() {
    nn::TransformerOptions options = small_model();
    options.block.d_ff = 9;
    options.block.dropout = 0.3;
    return options;
}

void expect_norms(const ProbeBench& bench, const std::vector<Tensor>& gradients, const double* norms) {
    for_each_block([&](std::size_t index, std::int64_t layer, std::int64_t head, int projection) {
        const Tensor gradient = of_parameter(bench.model, gradients, weight_of(bench.model, layer, projection));
        EXPECT_NEAR(norms[index], norm(block(gradient, projection, head)), 1e-12);
    });
}

TEST(GradNormByClass, IsThatOfEachClasssShareAndTheSharesAddUp) {
    ProbeBench bench(model_with_dropout());
    std::int64_t* const classes = bench.batch.classes.data<std::int64_t>();
    const std::int64_t* const targets = bench.batch.targets.data<std::int64_t>();
    for (std::int64_t i = 0; i < bench.batch.classes.numel(); ++i) {
        if (targets[i] < 0) classes[i] = i % 2;  // a class where nothing is scored
    }
    const std::vector<double> norms = bench.measure("grad_norm_by_class");
    ASSERT_EQ(norms.size(), 2u * 24u);
    std::vector<std::vector<Tensor>> shares;
    for (const std::int64_t number : {0, 1}) {
        shares.push_back(gradients_of_share(bench, [&](std::int64_t i) { return classes[i] == number; }));
        expect_norms(bench, shares.back(), norms.data() + number * 24);
    }
    const auto parameters = bench.model.named_parameters();
    for (std::size_t p = 0; p < parameters.size(); ++p) {
        const Tensor sum = shares[0][p] + shares[1][p];
        for (std::int64_t i = 0; i < sum.numel(); ++i)
            EXPECT_NEAR(sum.data<double>()[i], parameters[p].tensor.grad().data<double>()[i], 1e-14);
    }
}

TEST(GradNormByClass, OfOneClassForAllIsTheStepsOwnToTheBit) {
    for (const DType dtype : {DType::f32, DType::f64}) {
        ProbeBench bench(model_with_dropout(), dtype);
        bench.batch.classes.fill_(1);
        const std::vector<double> norms = bench.measure("grad_norm_by_class"), own = bench.measure("grad_norm");
        for (std::size_t i = 0; i < own.size(); ++i) {
            EXPECT_EQ(norms[i], 0);
            EXPECT_EQ(norms[24 + i], own[i]);
        }
    }
}

TEST(GradNormByClass, LeavesOutTargetsWithoutClass) {
    ProbeBench bench(model_with_dropout());
    std::int64_t* const classes = bench.batch.classes.data<std::int64_t>();
    for (std::int64_t i = 0; i < bench.batch.classes.numel(); i += 3) classes[i] = -1;
    const std::vector<double> norms = bench.measure("grad_norm_by_class");
    for (const std::int64_t number : {0, 1})
        expect_norms(bench, gradients_of_share(bench, [&](std::int64_t i) { return classes[i] == number; }),
                     norms.data() + number * 24);
}

TEST(GradNormByClass, OfATaskWithoutClassesHasOne) {
    class Plain : public RandomTask {
    public:
        using RandomTask::RandomTask;
        std::vector<std::string> class_names() const override { return {}; }
    };
    ProbeBench bench(model_with_dropout());
    bench.batch.classes = {};
    const Plain task(7, 6);
    const ProbeContext all = bench.context();
    const ProbeContext context{.model = bench.model,
                               .step = all.step,
                               .seed = all.seed,
                               .task = task,
                               .eval_batches = bench.eval_batches,
                               .batch = &bench.batch,
                               .micro_batches = all.micro_batches};
    EXPECT_EQ(make_probe("grad_norm_by_class")->measure(context), bench.measure("grad_norm"));
    const MetricSpec spec = make_probe("grad_norm_by_class")->spec({bench.model.options(), 6, {}});
    EXPECT_EQ(spec.dimensions[0].labels, std::vector<std::string>{"all"});
}

}  // namespace
}  // namespace headscope::experiments
