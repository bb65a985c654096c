// How many directions a head's circuits QK_h = W_q W_k^T and OV_h = W_v W_o (d x d) really use, s their singular
// values.
//
//   stable_rank[l, h, c]    = ||M||_F^2 / ||M||_2^2 = sum s^2 / max s^2              Rudelson and Vershynin 2007
//   effective_rank[l, h, c] = exp(-sum p ln p), p = s / sum s, 0 ln 0 = 0            Roy and Vetterli 2007
//
// Shapes [L, H, 2] (circuit QK, OV), units 1, range [1, min(d_k, d)]. NaN for a circuit that is 0.
// Null: measured on independent normal weights of that shape (measured_null.h).
// Invariance: GL. The circuits do not know the head's inner basis.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "experiments/probes/head_matrices.h"
#include "experiments/probes/measured_null.h"

namespace headscope::experiments {

namespace {

double stable_rank(const Eigen::VectorXd& values) { return values.squaredNorm() / (values(0) * values(0)); }

double effective_rank(const Eigen::VectorXd& values) {
    const double sum = values.sum();
    double entropy = 0;
    for (const double value : values)
        if (value != 0) entropy -= value / sum * std::log(value / sum);
    return std::exp(entropy);
}

/// Of stable_rank and of effective_rank, from the same draws.
struct Nulls {
    NullDistribution stable, effective;
};

Nulls measure_nulls(std::int64_t d_model, std::int64_t head_dim) {
    // A product of two heads' matrices, the left one bidiagonal but for rotations that the right one does not see.
    const auto ranks = draw_heads("null.circuit_ranks", [&](RandomHeads& random) {
        const Bidiagonal left = random.bidiagonal(d_model, head_dim);
        const Matrix right = random.triangle(d_model, std::min(d_model, head_dim));
        const Eigen::VectorXd values = singular_values(left.times(right.transpose()));
        return std::pair{stable_rank(values), effective_rank(values)};
    });
    std::vector<double> stable, effective;
    for (const auto& [of_draw, effective_of_draw] : ranks) {
        stable.push_back(of_draw);
        effective.push_back(effective_of_draw);
    }
    return {null_of(stable), null_of(effective)};
}

struct Meaning {
    std::string name, long_name, formula, source;
    double (*rank)(const Eigen::VectorXd& singular_values);
    NullDistribution Nulls::*null;
};

class CircuitRank : public Probe {
public:
    explicit CircuitRank(Meaning meaning) : meaning_(std::move(meaning)) {}

    MetricSpec spec(const ProbeSetup& setup) const override {
        const std::int64_t d = setup.d_model(), k = setup.head_dim();
        static PerShape<Nulls> nulls;
        const NullDistribution null = nulls.get(d, k, [&] { return measure_nulls(d, k); }).*meaning_.null;
        return {.name = meaning_.name,
                .long_name = meaning_.long_name,
                .units = "1",
                .formula = meaning_.formula,
                .source = meaning_.source,
                .invariance = "GL",
                .minimum = 1,
                .maximum = static_cast<double>(std::min(k, d)),
                .dimensions = {{"layer", setup.layers(), {}}, {"head", setup.heads(), {}}, circuit_axis()},
                .null_mean = null.mean,
                .null_std = null.std,
                .null_draws = null.draws,
                .null_mean_error = null.mean_error,
                .null_std_error = null.std_error};
    }

    ProbeStage stage() const override { return ProbeStage::weights; }

    std::vector<double> measure(const ProbeContext& context) const override {
        const std::int64_t heads = context.model.options().block.num_heads;
        std::vector<double> ranks(static_cast<std::size_t>(context.model.num_layers() * heads * 2));
        parallel_chunks(static_cast<std::int64_t>(ranks.size()), [&](std::int64_t i) {
            const nn::MultiHeadAttention& attention =
                context.model.blocks[static_cast<std::size_t>(i / 2 / heads)]->attn;
            const CircuitKind kind = i % 2 == 0 ? CircuitKind::qk : CircuitKind::ov;
            const Eigen::VectorXd values = singular_values(head_circuit(attention, i / 2 % heads, kind).core);
            const bool is_zero = values.size() == 0 || values(0) == 0;
            ranks[static_cast<std::size_t>(i)] =
                is_zero ? std::numeric_limits<double>::quiet_NaN() : meaning_.rank(values);
        });
        return ranks;
    }

private:
    Meaning meaning_;
};

const RegisterProbe registered_stable("stable_rank", [] {
    return std::make_unique<CircuitRank>(Meaning{"stable_rank", "stable rank of a head's circuit",
                                                 "||M||_F^2 / ||M||_2^2, M = W_q W_k^T (QK) or W_v W_o (OV), d x d",
                                                 "Rudelson and Vershynin 2007", stable_rank, &Nulls::stable});
});
const RegisterProbe registered_effective("effective_rank", [] {
    return std::make_unique<CircuitRank>(
        Meaning{"effective_rank", "effective rank of a head's circuit",
                "exp(-sum p ln p), p = s / sum s, s the singular values of W_q W_k^T (QK) or W_v W_o (OV), d x d",
                "Roy and Vetterli 2007", effective_rank, &Nulls::effective});
});

}  // namespace

}  // namespace headscope::experiments
