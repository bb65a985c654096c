// weight_cosine: whether two heads of a layer have the same weights, element by element.
//
//   weight_cosine[l, p, i, j] = <W_p^i, W_p^j> / (||W_p^i|| ||W_p^j||)
//
// with the sum over elements (Frobenius), weights without biases, before the step. Shape [L, 4, H, H], units 1, range
// [-1, 1]: 1 = the same up to length, as clones are; 0 = orthogonal as vectors, which heads with the same subspace can
// be all the same (see overlap). NaN for a head that is all 0. Source: definition.
// Null, for independent normal weights: mean 0, standard deviation 1/sqrt(d d_k), that of a coordinate of a random
// unit vector of d d_k dimensions.
// Invariance: none. Another inner basis of one head is other weights.
#include <cmath>

#include "experiments/probes/head_pairs.h"

namespace headscope::experiments {

namespace {

class WeightCosine : public Probe {
public:
    MetricSpec spec(const ProbeSetup& setup) const override {
        return {.name = "weight_cosine",
                .long_name = "cosine of two heads' weights",
                .units = "1",
                .formula = "<W_p^i, W_p^j> / (||W_p^i|| ||W_p^j||), weights without biases",
                .source = "definition",
                .invariance = "none",
                .minimum = -1,
                .maximum = 1,
                .dimensions = head_pair_axes(setup, projection_axis()),
                .null_mean = 0,
                .null_std = 1 / std::sqrt(static_cast<double>(setup.d_model() * setup.head_dim()))};
    }

    ProbeStage stage() const override { return ProbeStage::weights; }

    std::vector<double> measure(const ProbeContext& context) const override {
        return all_head_cosines(context.model, [](const Tensor& weight) { return weight; });
    }
};

const RegisterProbe registered_weight_cosine("weight_cosine", [] { return std::make_unique<WeightCosine>(); });

}  // namespace

}  // namespace headscope::experiments
