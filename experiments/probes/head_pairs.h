// What probes of weights that compare the heads of a layer share: their axes, and the walk over projections.
#pragma once

#include <cstdint>
#include <vector>

#include "experiments/probes/head_blocks.h"
#include "experiments/probes/probe.h"

namespace headscope::experiments {

/// Axes of a metric with one value for each pair of heads and each of `kind`.
inline std::vector<Dimension> head_pair_axes(const ProbeSetup& setup, const Dimension& kind) {
    return {{"layer", setup.layers(), {}}, kind, {"head", setup.heads(), {}}, {"head_other", setup.heads(), {}}};
}
inline Dimension projection_axis() { return {"projection", 4, {"q", "k", "v", "o"}}; }
inline Dimension circuit_axis() { return {"circuit", 2, {"QK", "OV"}}; }

/// Multiplications that the products W_i^T W_j of all pairs of heads take.
inline std::int64_t products_work(const nn::Transformer& model) {
    const nn::TransformerOptions& options = model.options();
    return options.block.num_heads * options.head_dim() * elements_of_projection(model);
}

/// Values [L, 4, `size`]: calls fill(attention, projection, its `size` values) for each projection of each layer, in
/// parallel where it pays. `work`: the multiplications that each call takes.
template <class Fill>
std::vector<double> measure_projections(const nn::Transformer& model, std::int64_t size, std::int64_t work,
                                        Fill&& fill) {
    std::vector<double> values(static_cast<std::size_t>(model.num_layers() * 4 * size));
    for_each_projection(model, work, [&](std::int64_t layer, nn::Projection projection) {
        fill(model.blocks[static_cast<std::size_t>(layer)]->attn, projection,
             values.data() + (layer * 4 + static_cast<int>(projection)) * size);
    });
    return values;
}

/// A metric of weights with one value for each pair of heads: [L, 4, H, H].
class HeadPairProbe : public Probe {
public:
    ProbeStage stage() const final { return ProbeStage::weights; }
    std::vector<double> measure(const ProbeContext& context) const final {
        const std::int64_t heads = context.model.options().block.num_heads;
        return measure_projections(context.model, heads * heads, products_work(context.model),
                                   [this](const auto& attention, nn::Projection projection, double* values) {
                                       measure_pairs(attention, projection, values);
                                   });
    }

protected:
    /// Fills values [H, H].
    virtual void measure_pairs(const nn::MultiHeadAttention& attention, nn::Projection projection,
                               double* values) const = 0;
};

}  // namespace headscope::experiments
