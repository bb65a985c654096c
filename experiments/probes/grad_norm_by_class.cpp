// grad_norm_by_class: which targets pull on which head.
//
//   grad_norm_by_class[c, l, h, p] = ||dL_c/dW_p^h||_F      p in q, k, v, o
//
// L_c is the share of target class c in the loss of the step's batch: the sum of the cross-entropy over the scored
// targets of the class, divided by the number of all scored targets of the batch. So where every scored target has a
// class, the gradients of the classes add up to the step's own. (Their norms do not, unless they agree.) Under dropout
// and train.accumulate the passes are those of the step.
// Shape [C, L, H, 4], C the task's target classes; a task without any has one, "all". Units 1, range [0, inf). Weights
// only, no biases.
// Source: definition.
// Invariance: orthogonal, as grad_norm.
// Cost: the step's forward pass again, and a backward pass for each class.
#include <algorithm>
#include <cmath>

#include "autograd/graph.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/cross_entropy.h"
#include "autograd/random.h"
#include "experiments/probes/extra_pass.h"
#include "experiments/probes/head_blocks.h"
#include "experiments/tasks/micro_batches.h"

namespace headscope::experiments {

namespace {

std::vector<std::string> class_names(std::vector<std::string> of_task) {
    return of_task.empty() ? std::vector<std::string>{"all"} : std::move(of_task);
}

double count_scored(const Tensor& targets) {
    const auto values = targets.values<std::int64_t>();
    return static_cast<double>(std::count_if(values.begin(), values.end(), [](std::int64_t t) { return t >= 0; }));
}

/// The targets of one class, all others not scored. A position may have a class and no target.
Tensor targets_of_class(const Batch& batch, std::int64_t number) {
    if (!batch.classes.defined()) return batch.targets;
    Tensor targets = batch.targets.clone();
    const std::int64_t* const classes = batch.classes.data<std::int64_t>();
    std::int64_t* const target = targets.data<std::int64_t>();
    for (std::int64_t i = 0; i < targets.numel(); ++i)
        if (classes[i] != number) target[i] = -1;
    return targets;
}

/// Adds the gradients of the projections, by layer and projection, to sums, and drops all gradients of the model.
void move_gradients(nn::Transformer& model, std::vector<Tensor>& sums) {
    for (std::size_t i = 0; i < sums.size(); ++i) {
        const Tensor& gradient = weight_of(model.blocks[i / 4]->attn, nn::projections[i % 4]).grad();
        if (!gradient.defined()) continue;
        sums[i] = sums[i].defined() ? add(sums[i], gradient) : gradient;
    }
    for (nn::Parameter& parameter : model.named_parameters()) parameter.tensor.set_grad({});
}

class GradNormByClass : public Probe {
public:
    MetricSpec spec(const ProbeSetup& setup) const override {
        const std::vector<std::string> names = class_names(setup.classes);
        return {.name = "grad_norm_by_class",
                .long_name = "norm of the gradient of a head's weights, of each target class's share of the loss",
                .units = "1",
                .formula =
                    "||dL_c/dW_p^h||_F, L_c the sum of the cross-entropy over the scored targets of class c, "
                    "divided by the number of all scored targets",
                .source = "definition",
                .invariance = "orthogonal",
                .minimum = 0,
                .dimensions = {{"class", static_cast<std::int64_t>(names.size()), names},
                               {"layer", setup.layers(), {}},
                               {"head", setup.heads(), {}},
                               {"projection", 4, {"q", "k", "v", "o"}}}};
    }

    ProbeStage stage() const override { return ProbeStage::gradients; }
    bool makes_passes() const override { return true; }

    std::vector<double> measure(const ProbeContext& context) const override {
        const auto classes = static_cast<std::int64_t>(class_names(context.task.class_names()).size());
        const auto gradients = gradients_by_class(context, classes);
        std::vector<double> norms;
        for (const std::vector<Tensor>& gradient : gradients) {
            const std::vector<double> own = for_each_block(context.model, [&](const HeadBlock& block) {
                return std::sqrt(squared_norm(gradient[block.weight_index()], block));
            });
            norms.insert(norms.end(), own.begin(), own.end());
        }
        return norms;
    }

private:
    /// Gradients of each class's share, by layer and projection; undefined where nothing flows.
    static std::vector<std::vector<Tensor>> gradients_by_class(const ProbeContext& context, std::int64_t classes) {
        nn::Transformer& model = context.model;
        const Batch& batch = *context.batch;
        const double scored = count_scored(batch.targets);
        std::vector<std::vector<MicroBatch>> split;  // by class and part; only the targets differ between classes
        for (std::int64_t c = 0; c < classes; ++c) {
            Batch of_class = batch;
            of_class.targets = targets_of_class(batch, c);
            split.push_back(split_batch(of_class, context.micro_batches));
        }
        std::vector<std::vector<Tensor>> sums(split.size(), std::vector<Tensor>(model.blocks.size() * 4));
        for (std::int64_t part = 0; part < context.micro_batches; ++part)
            with_own_gradients(model, [&] {
                const RandomScope random(static_cast<std::uint64_t>(context.seed),
                                         static_cast<std::uint64_t>(context.step * context.micro_batches + part));
                model.train();
                const Tensor logits = model.forward(split[0][static_cast<std::size_t>(part)].inputs);
                for (std::size_t c = 0; c < split.size(); ++c) {
                    const Tensor& targets = split[c][static_cast<std::size_t>(part)].targets;
                    const double own = count_scored(targets);
                    if (own == 0) continue;
                    const Tensor share = Tensor::full({}, own / scored, logits.dtype());
                    backward(cross_entropy(logits, targets), {.gradient = share, .retain_graph = true});
                    move_gradients(model, sums[c]);
                }
            });
        return sums;
    }
};

const RegisterProbe registered_grad_norm_by_class("grad_norm_by_class",
                                                  [] { return std::make_unique<GradNormByClass>(); });

}  // namespace

}  // namespace headscope::experiments
