// importance: how much the loss of an example hangs on each head, to first order.
//
//   importance[l, h] = (1/B) sum_b |sum_t z . dL_b/dz|
//
// z is the output of the head at position t of sequence b, before W_o; L_b the mean cross-entropy over b's own scored
// targets; B the number of all sequences of the evaluation batches. One without scored targets adds 0; NaN when none of
// them has any. The inner sum is dL_b/d(xi) of a gate xi = 1 that
// the head's output is multiplied by: what closing the gate would change, if the loss were straight.
// Shape [L, H], units nat, range [0, inf).
// Source: Michel, Levy and Neubig 2019, "Are sixteen heads really better than one?".
// Invariance: GL. W_v R, R^-1 W_o turn z by R and its gradient by R^-T.
#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/parallel.h"
#include "experiments/probes/capture.h"

namespace headscope::experiments {

namespace {

double inner_product(const Tensor& a, const Tensor& b, std::int64_t begin, std::int64_t count) {
    return dispatch_float(a.dtype(), "importance", [&](auto zero) {
        const auto* const x = a.data<decltype(zero)>() + begin;
        const auto* const y = b.data<decltype(zero)>() + begin;
        double sum = 0;
        for (std::int64_t i = 0; i < count; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(y[i]);
        return sum;
    });
}

class MeanGateGradient : public Accumulator {
public:
    explicit MeanGateGradient(const nn::Transformer& model)
        : heads_(model.options().block.num_heads), sums_(static_cast<std::size_t>(model.num_layers() * heads_)) {}

    void add(const Capture& capture) override {
        const std::int64_t sequences = capture.batch().inputs.size(0);
        // One chunk per head: each sum is one thread's, in the order of the batches.
        parallel_chunks(static_cast<std::int64_t>(sums_.size()), [&](std::int64_t chunk) {
            const LayerCapture& layer = capture.layer(chunk / heads_);
            const Tensor &z = layer.head_out(), &gradient = layer.grad_head_out();  // [B, H, T, d_v]
            const std::int64_t count = z.size(2) * z.size(3);
            for (std::int64_t b = 0; b < sequences; ++b)
                sums_[static_cast<std::size_t>(chunk)] +=
                    std::abs(inner_product(z, gradient, (b * heads_ + chunk % heads_) * count, count));
        });
        sequences_ += sequences;
        scored_ = scored_ || std::ranges::any_of(capture.batch().targets.values<std::int64_t>(),
                                                 [](std::int64_t target) { return target >= 0; });
    }

    std::vector<double> values() const override {
        std::vector<double> means = sums_;
        for (double& mean : means)
            mean = scored_ ? mean / static_cast<double>(sequences_) : std::numeric_limits<double>::quiet_NaN();
        return means;
    }

private:
    std::int64_t heads_, sequences_ = 0;
    bool scored_ = false;  ///< any target
    std::vector<double> sums_;
};

class Importance : public CaptureProbe {
public:
    MetricSpec spec(const ProbeSetup& setup) const override {
        return {.name = "importance",
                .long_name = "mean size of the loss gradient of a gate on a head's output",
                .units = "nat",
                .formula =
                    "(1/B) sum_b |sum_t z . dL_b/dz|, z the head's output, L_b an example's own mean loss, on "
                    "the evaluation batches",
                .source = "Michel et al. 2019",
                .invariance = "GL",
                .minimum = 0,
                .dimensions = {{"layer", setup.layers(), {}}, {"head", setup.heads(), {}}}};
    }

    bool needs_activation_gradients() const override { return true; }

    std::unique_ptr<Accumulator> accumulate(const ProbeContext& context) const override {
        return std::make_unique<MeanGateGradient>(context.model);
    }
};

const RegisterProbe registered_importance("importance", [] { return std::make_unique<Importance>(); });

}  // namespace

}  // namespace headscope::experiments
