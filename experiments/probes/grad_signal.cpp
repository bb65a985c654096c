// grad_signal: how far the parts of a batch agree on where each head should go.
//
//   grad_signal[l, h, p] = ||mean_m g_m||^2 / mean_m ||g_m||^2      p in q, k, v, o
//
// g_m = dL_m/dW_p^h, L_m the mean cross-entropy over the scored targets of micro-batch m of the step; parts without any
// are left out. The micro-batches are those of train.accumulate when that is above 1. Else they are made for this: the
// batch in as many equal parts as its size allows, 8 at most (a batch of 12: 6 parts), and dropout draws numbers of its
// own for each.
// Shape [L, H, 4], units 1, range [0, 1]: 1 = all parts agree, 1/M = M parts of nothing but independent noise.
// NaN where there are no two parts, or no gradient. Weights only, no biases.
// Source: definition. The simple noise scale of McCandlish et al. 2018 compares the same two norms.
// Invariance: orthogonal, as grad_norm.
// Cost: the step's forward and backward pass again.
#include <algorithm>
#include <limits>

#include "autograd/graph.h"
#include "autograd/ops/arithmetic.h"
#include "experiments/probes/extra_pass.h"
#include "experiments/probes/head_blocks.h"
#include "experiments/tasks/micro_batches.h"

namespace headscope::experiments {

namespace {

std::int64_t number_of_parts(std::int64_t batch_size) {
    std::int64_t parts = 8;
    while (batch_size % parts != 0) --parts;
    return parts;
}

/// Of gradients in the order of the model's parameters, those of the projections: by layer and projection.
std::vector<Tensor> of_projections(const nn::Transformer& model, const std::vector<Tensor>& gradients) {
    const std::vector<nn::Parameter> parameters = model.named_parameters();
    std::vector<Tensor> found;
    for (const auto& block : model.blocks)
        for (const nn::Projection projection : nn::projections) {
            const TensorImpl* weight = weight_of(block->attn, projection).id();
            const auto place = std::find_if(parameters.begin(), parameters.end(), [&](const nn::Parameter& parameter) {
                return parameter.tensor.id() == weight;
            });
            found.push_back(gradients[static_cast<std::size_t>(place - parameters.begin())]);
        }
    return found;
}

std::vector<double> squared_norms(const nn::Transformer& model, const std::vector<Tensor>& gradients) {
    return for_each_block(model,
                          [&](const HeadBlock& block) { return squared_norm(gradients[block.weight_index()], block); });
}

class GradSignal : public Probe {
public:
    MetricSpec spec(const ProbeSetup& setup) const override {
        return {
            .name = "grad_signal",
            .long_name = "agreement of micro-batches on the gradient of a head's weights",
            .units = "1",
            .formula =
                "||mean g||^2 / mean ||g||^2, g = dL/dW_p^h of each micro-batch (without train.accumulate: of "
                "each of up to 8 equal parts of the batch)",
            .source = "definition",
            .invariance = "orthogonal",
            .minimum = 0,
            .maximum = 1,
            .dimensions = {
                {"layer", setup.layers(), {}}, {"head", setup.heads(), {}}, {"projection", 4, {"q", "k", "v", "o"}}}};
    }

    ProbeStage stage() const override { return ProbeStage::gradients; }
    bool makes_passes() const override { return true; }

    std::vector<double> measure(const ProbeContext& context) const override {
        ProbeContext in_parts = context;
        if (in_parts.micro_batches == 1) in_parts.micro_batches = number_of_parts(context.batch->inputs.size(0));
        std::vector<Tensor> sums;
        std::vector<double> squares;
        std::int64_t number = 0, count = 0;
        for (const MicroBatch& part : split_batch(*context.batch, in_parts.micro_batches)) {
            const std::int64_t own = number++;
            if (part.weight == 0) continue;
            const std::vector<Tensor> gradients =
                of_projections(context.model, gradients_of(in_parts, part.inputs, part.targets, 1, own));
            const std::vector<double> norms = squared_norms(context.model, gradients);
            if (count++ == 0) {
                sums = gradients;
                squares = norms;
                continue;
            }
            const NoGrad no_grad;
            for (std::size_t i = 0; i < sums.size(); ++i) sums[i] = add(sums[i], gradients[i]);
            for (std::size_t i = 0; i < squares.size(); ++i) squares[i] += norms[i];
        }
        // ||sum / M||^2 / (squares / M)
        std::vector<double> signal = squared_norms(context.model, sums);
        for (std::size_t i = 0; i < signal.size(); ++i)
            signal[i] = count > 1 && squares[i] > 0
                            ? std::min(1.0, signal[i] / (static_cast<double>(count) * squares[i]))
                            : std::numeric_limits<double>::quiet_NaN();
        return signal;
    }
};

const RegisterProbe registered_grad_signal("grad_signal", [] { return std::make_unique<GradSignal>(); });

}  // namespace

}  // namespace headscope::experiments
