// grad_norm: how hard the step's gradient pulls on each head's share of each projection.
//
//   grad_norm[l, h, p] = ||dL/dW_p^h||_F      p in q, k, v, o
//
// Shape [L, H, 4], units 1, range [0, inf). The gradient is the step's own, before clipping; weights only, no biases.
// Source: definition.
// Invariance: orthogonal. A rotation R of a head's inner basis turns the gradient by R, which keeps the norm; a general
// change W_q R, W_k R^-T does not keep it.
#include <cmath>

#include "experiments/probes/head_blocks.h"
#include "experiments/probes/probe.h"

namespace headscope::experiments {

namespace {

class GradNorm : public Probe {
public:
    MetricSpec spec(const ProbeSetup& setup) const override {
        return {
            .name = "grad_norm",
            .long_name = "norm of the loss gradient of a head's weights",
            .units = "1",
            .formula = "||dL/dW_p^h||_F, before clipping, weights without biases",
            .source = "definition",
            .invariance = "orthogonal",
            .minimum = 0,
            .dimensions = {
                {"layer", setup.layers(), {}}, {"head", setup.heads(), {}}, {"projection", 4, {"q", "k", "v", "o"}}}};
    }

    ProbeStage stage() const override { return ProbeStage::gradients; }

    std::vector<double> measure(const ProbeContext& context) const override {
        return for_each_block(context.model, [](const HeadBlock& block) {
            return std::sqrt(squared_norm(block.weight().grad(), block));
        });
    }
};

const RegisterProbe registered_grad_norm("grad_norm", [] { return std::make_unique<GradNorm>(); });

}  // namespace

}  // namespace headscope::experiments
