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
// Null: measured on independent normal weights of that shape (measured_null.h); for wide heads about 1/sqrt(d). The
// mean square is 1/d exactly, so the mean alone is measured, and that on x - sqrt(d)/2 (x^2 - 1/d), whose mean is that
// of the metric x and which scatters far less; std^2 = 1/d - mean^2. Invariance: GL. The circuits do not know the
// head's inner basis.
#include <algorithm>
#include <cmath>
#include <limits>

#include "experiments/probes/head_matrices.h"
#include "experiments/probes/measured_null.h"

namespace headscope::experiments {

namespace {

double draw_composition(RandomHeads& random, Eigen::Index d, Eigen::Index k) {
    // A = V O^T, B = Q K^T. V and K are bidiagonal up to rotations: those on the right go into O and Q, those on the
    // left change no norm. O is [R; 0] after one more, so that only the first rows of Q meet it.
    const Eigen::Index n = std::min(d, k);
    const Bidiagonal V = random.bidiagonal(d, k), K = random.bidiagonal(d, k);
    const Matrix A = V.times(random.triangle(d, n).transpose());
    const Matrix top = K.times(random.normal(n, n));  // B^T's first columns
    const double squares = top.squaredNorm() + random.squared_norm_of_product(K, d - n);
    return multiply_nt(A, top).norm() / (A.norm() * std::sqrt(squares));
}

NullDistribution measure_null(std::int64_t d_model, std::int64_t head_dim) {
    const auto d = static_cast<double>(d_model);
    NullDistribution null = null_of(draw_heads("null.composition", [&](RandomHeads& random) {
        const double x = draw_composition(random, d_model, head_dim);
        return x - std::sqrt(d) / 2 * (x * x - 1 / d);
    }));
    null.std = std::sqrt(std::max(0.0, 1 / d - null.mean * null.mean));
    null.std_error = null.std > 0 ? null.mean * null.mean_error / null.std : 0;
    return null;
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
        static PerShape<NullDistribution> nulls;
        const NullDistribution null = nulls.get(setup.d_model(), setup.head_dim(),
                                                [&] { return measure_null(setup.d_model(), setup.head_dim()); });
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
                .null_std = null.std,
                .null_draws = null.draws,
                .null_mean_error = null.mean_error,
                .null_std_error = null.std_error};
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
