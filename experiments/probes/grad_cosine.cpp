// grad_cosine: do the heads of a layer learn in the same direction?
//
//   grad_cosine[l, p, i, j] = <G_i, G_j> / (||G_i|| ||G_j||)      G_h = dL/dW_p^h, p in q, k, v, o
//
// Shape [L, 4, H, H], units 1, range [-1, 1]; 1 on the diagonal; NaN where a gradient is zero, which has no direction.
// The gradient is the step's own; weights only, no biases. Exact clones score exactly 1.
// Source: definition.
// Null, for two independent isotropic gradients: mean 0, standard deviation 1/sqrt(d d_k).
// Invariance: none. A rotation of one head's inner basis turns its gradient and not the others'.
#include <cmath>

#include "experiments/probes/head_blocks.h"
#include "experiments/probes/probe.h"

namespace headscope::experiments {

namespace {

class GradCosine : public Probe {
public:
    MetricSpec spec(const ProbeSetup& setup) const override {
        const auto elements = static_cast<double>(setup.d_model() * setup.head_dim());
        return {.name = "grad_cosine",
                .long_name = "cosine of two heads' loss gradients",
                .units = "1",
                .formula = "<G_i, G_j> / (||G_i|| ||G_j||), G_h = dL/dW_p^h, weights without biases",
                .source = "definition",
                .invariance = "none",
                .minimum = -1,
                .maximum = 1,
                .dimensions = {{"layer", setup.layers(), {}},
                               {"projection", 4, {"q", "k", "v", "o"}},
                               {"head", setup.heads(), {}},
                               {"head_other", setup.heads(), {}}},
                .null_mean = 0,
                .null_std = 1 / std::sqrt(elements)};
    }

    ProbeStage stage() const override { return ProbeStage::gradients; }

    std::vector<double> measure(const ProbeContext& context) const override {
        return all_head_cosines(context.model, [](const Tensor& weight) { return weight.grad(); });
    }
};

const RegisterProbe registered_grad_cosine("grad_cosine", [] { return std::make_unique<GradCosine>(); });

}  // namespace

}  // namespace headscope::experiments
