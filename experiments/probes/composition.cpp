// composition: how much of what an earlier head writes a later head reads, through its queries, keys or values.
//
//   composition[l, h, m, g, c] = ||A B||_F / (||A||_F ||B||_F),    head h of layer l, head g of layer m > l
//     q: A = OV_h,  B = QK_g       (x OV) QK: what h writes enters g's queries
//     k: A = OV_h,  B = QK_g^T     its keys
//     v: A = OV_h,  B = OV_g       its values
//
// with QK = W_q W_k^T and OV = W_v W_o (d x d), rows of x being positions. Shape [L, H, L, H, 3] (layer, head,
// layer_later, head_later, input), units 1, range [0, 1]. NaN unless m > l, and for a circuit that is 0. What lies
// between the layers (norms, feed-forward) is left out. Source: Elhage et al. 2021, "A mathematical framework for
// transformer circuits" (there with columns for rows, so transposed).
// Null: measured on independent normal weights of that shape (random_heads.h); for wide heads about 1/sqrt(d), the mean
// square being 1/d exactly.
// Invariance: GL. The circuits do not know the head's inner basis.
#include <limits>

#include "experiments/probes/head_matrices.h"
#include "experiments/probes/random_heads.h"

namespace headscope::experiments {

namespace {

double draw_composition(RandomHeads& random, Eigen::Index d, Eigen::Index k) {
    // A = V O^T, B = Q K^T with O = [triangle; 0] after a turn, so that only the first rows of Q meet it.
    const Matrix value = random.triangle(d, k), output = random.triangle(d, k), core = multiply_nt(output, value);
    const Matrix K = random.triangle(d, k), top = multiply_nt(random.normal(core.cols(), k), K);
    double squares = top.squaredNorm();
    if (d > k) squares += multiply_nt(random.triangle(d - k, k), K).squaredNorm();
    return multiply(core, top).norm() / (core.norm() * std::sqrt(squares));
}

/// The d x columns matrices side by side, as many columns as they have.
struct Joined {
    Matrix all;
    std::vector<Eigen::Index> start;  // of each, and the end

    Joined(const std::vector<Circuit>& circuits, std::int64_t first, std::int64_t count, Matrix Circuit::*side) {
        start.push_back(0);
        for (std::int64_t i = 0; i < count; ++i)
            start.push_back(start.back() + (circuits[static_cast<std::size_t>(first + i)].*side).cols());
        all.resize((circuits[static_cast<std::size_t>(first)].*side).rows(), start.back());
        for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i)
            all.middleCols(start[i], start[i + 1] - start[i]) = circuits[static_cast<std::size_t>(first) + i].*side;
    }
};

/// How the later head's circuit meets the earlier one's output: B = near core far^T, where `near` meets it.
struct Input {
    const std::vector<Circuit>& circuits;
    Matrix Circuit::*near;
    bool transposed;
};

class Composition : public Probe {
public:
    MetricSpec spec(const ProbeSetup& setup) const override {
        const NullDistribution null = measured_null("null.composition", setup, [&](RandomHeads& random) {
            return draw_composition(random, setup.d_model(), setup.head_dim());
        });
        return {.name = "composition",
                .long_name = "how much a later head reads of what an earlier one writes",
                .units = "1",
                .formula =
                    "||A B||_F / (||A||_F ||B||_F), A = OV of the earlier head, B = QK (q), QK^T (k) or OV (v) of "
                    "the later one",
                .source = "Elhage et al. 2021",
                .invariance = "GL",
                .minimum = 0,
                .maximum = 1,
                .dimensions = {{"layer", setup.layers(), {}},
                               {"head", setup.heads(), {}},
                               {"layer_later", setup.layers(), {}},
                               {"head_later", setup.heads(), {}},
                               {"input", 3, {"q", "k", "v"}}},
                .null_mean = null.mean,
                .null_std = null.std};
    }

    ProbeStage stage() const override { return ProbeStage::weights; }

    std::vector<double> measure(const ProbeContext& context) const override {
        const std::int64_t L = context.model.num_layers(), H = context.model.options().block.num_heads;
        std::vector<double> values(static_cast<std::size_t>(L * H * L * H * 3),
                                   std::numeric_limits<double>::quiet_NaN());
        const std::vector<Circuit> OV = head_circuits(context.model, CircuitKind::ov);
        const std::vector<Circuit> QK = head_circuits(context.model, CircuitKind::qk);
        const Input inputs[] = {{QK, &Circuit::left, false}, {QK, &Circuit::right, true}, {OV, &Circuit::left, false}};
        parallel_chunks(L * L * 3, [&](std::int64_t chunk) {
            const std::int64_t earlier = chunk / 3 / L, later = chunk / 3 % L, c = chunk % 3;
            if (later <= earlier) return;
            const Input& input = inputs[c];
            const Joined written(OV, earlier * H, H, &Circuit::right), read(input.circuits, later * H, H, input.near);
            const Matrix meeting = multiply_tn(written.all, read.all);
            for (std::size_t h = 0; h < static_cast<std::size_t>(H); ++h)
                for (std::size_t g = 0; g < static_cast<std::size_t>(H); ++g) {
                    const Matrix& A = OV[static_cast<std::size_t>(earlier * H) + h].core;
                    const Matrix& B = input.circuits[static_cast<std::size_t>(later * H) + g].core;
                    const Matrix half = multiply(
                        A, meeting.block(written.start[h], read.start[g], written.start[h + 1] - written.start[h],
                                         read.start[g + 1] - read.start[g]));
                    const double norm = input.transposed ? multiply_nt(half, B).norm() : multiply(half, B).norm();
                    const std::int64_t at =
                        ((earlier * H + static_cast<std::int64_t>(h)) * L + later) * H + static_cast<std::int64_t>(g);
                    values[static_cast<std::size_t>(at * 3 + c)] = norm / (A.norm() * B.norm());
                }
        });
        return values;
    }
};

const RegisterProbe registered_composition("composition", [] { return std::make_unique<Composition>(); });

}  // namespace

}  // namespace headscope::experiments
