// update_ratio: by what share of itself a step changes each head's share of each projection.
//
//   update_ratio[l, h, p] = ||W'_p^h - W_p^h||_F / ||W_p^h||_F      p in q, k, v, o
//
// W are the weights before update s, W' those after it: the update as the optimizer made it, with its learning rate,
// clipping and weight decay. Weights only, no biases.
// Shape [L, H, 4], units 1, range [0, inf); NaN where W_p^h is zero.
// Source: definition.
// Invariance: none. Under SGD a rotation of a head's inner basis turns weights and update alike and keeps the ratio;
// the steps of Adam and the like, which go element by element, change with it.
#include <cmath>
#include <limits>

#include "experiments/probes/head_blocks.h"
#include "experiments/probes/probe.h"

namespace headscope::experiments {

namespace {

class UpdateRatio : public Probe {
public:
    MetricSpec spec(const ProbeSetup& setup) const override {
        return {
            .name = "update_ratio",
            .long_name = "size of the update of a head's weights, as a share of the weights",
            .units = "1",
            .formula = "||W_p^h after the update - before|| / ||W_p^h before||, weights without biases",
            .source = "definition",
            .invariance = "none",
            .minimum = 0,
            .dimensions = {
                {"layer", setup.layers(), {}}, {"head", setup.heads(), {}}, {"projection", 4, {"q", "k", "v", "o"}}}};
    }

    ProbeStage stage() const override { return ProbeStage::update; }

    std::vector<double> measure(const ProbeContext& context) const override {
        return for_each_block(context.model, [&](const HeadBlock& block) {
            const Tensor& before = context.before(block.weight());
            const double weight = squared_norm(before, block);
            if (!(weight > 0)) return std::numeric_limits<double>::quiet_NaN();
            return std::sqrt(squared_distance(block.weight(), before, block) / weight);
        });
    }
};

const RegisterProbe registered_update_ratio("update_ratio", [] { return std::make_unique<UpdateRatio>(); });

}  // namespace

}  // namespace headscope::experiments
