// circuit_cosine: whether two heads of a layer compute the same scores, or move the same information.
//
//   circuit_cosine[l, c, i, j] = <M_i, M_j> / (||M_i|| ||M_j||)
//
// M_h = QK_h = W_q W_k^T or OV_h = W_v W_o (d x d, with W_q, W_k, W_v as d x d_k and W_o as d_k x d), the sum over
// elements (Frobenius). Shape [L, 2, H, H], units 1, range [-1, 1]. NaN for a circuit that is 0.
// Source: circuits QK and OV of Elhage et al. 2021, "A mathematical framework for transformer circuits".
// Null, for independent normal weights: mean 0, standard deviation 1/d exactly: turning one circuit by random rotations
// on both sides makes <M_i, M_j>^2 average to ||M_i||^2 ||M_j||^2 / d^2.
// Invariance: GL. The circuits do not know the head's inner basis.
#include "experiments/probes/head_matrices.h"

namespace headscope::experiments {

namespace {

/// <left_i core_i right_i^T, left_j core_j right_j^T>
double product(const Circuit& i, const Circuit& j) {
    const Matrix left = multiply_tn(i.left, j.left), right = multiply_tn(i.right, j.right);
    return multiply(left, j.core).cwiseProduct(multiply(i.core, right)).sum();
}

class CircuitCosine : public Probe {
public:
    MetricSpec spec(const ProbeSetup& setup) const override {
        return {.name = "circuit_cosine",
                .long_name = "cosine of two heads' circuits",
                .units = "1",
                .formula = "<M_i, M_j> / (||M_i|| ||M_j||), M = W_q W_k^T (QK) or W_v W_o (OV), d x d",
                .source = "circuits of Elhage et al. 2021",
                .invariance = "GL",
                .minimum = -1,
                .maximum = 1,
                .dimensions = head_pair_axes(setup, circuit_axis()),
                .null_mean = 0,
                .null_std = 1 / static_cast<double>(setup.d_model())};
    }

    ProbeStage stage() const override { return ProbeStage::weights; }

    std::vector<double> measure(const ProbeContext& context) const override {
        const std::int64_t heads = context.model.options().block.num_heads;
        std::vector<double> cosines(static_cast<std::size_t>(context.model.num_layers() * 2 * heads * heads));
        for (std::int64_t c = 0; c < 2; ++c) {
            const std::vector<Circuit> circuits =
                head_circuits(context.model, c == 0 ? CircuitKind::qk : CircuitKind::ov);
            parallel_chunks(context.model.num_layers() * heads, [&](std::int64_t row) {
                const std::int64_t layer = row / heads, i = row % heads;
                double* const own = cosines.data() + (layer * 2 + c) * heads * heads;
                for (std::int64_t j = 0; j <= i; ++j) {
                    const Circuit& a = circuits[static_cast<std::size_t>(row)];
                    const Circuit& b = circuits[static_cast<std::size_t>(layer * heads + j)];
                    own[i * heads + j] = own[j * heads + i] = product(a, b) / (a.core.norm() * b.core.norm());
                }
            });
        }
        return cosines;
    }
};

const RegisterProbe registered_circuit_cosine("circuit_cosine", [] { return std::make_unique<CircuitCosine>(); });

}  // namespace

}  // namespace headscope::experiments
