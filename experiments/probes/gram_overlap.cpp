// gram_overlap: overlap of two heads' subspaces with every direction weighted by how large the head's matrix is in it.
//
//   gram_overlap[l, p, i, j] = <M_i, M_j> / (||M_i|| ||M_j||),    M_i = W_p^i W_p^i^T, d x d
//     <M_i, M_j> = ||W_p^i^T W_p^j||_F^2, so d_k x d_k products do
//
// W_p^i is d x d_k (for o it is W_o^i transposed). Shape [L, 4, H, H], units 1, range [0, 1]. NaN for a head that is
// all 0. Source: definition; it is the linear centred kernel alignment (Kornblith et al. 2019) of the weights' rows,
// without the centring.
// Null, for independent normal matrices: with q = (tr M)^2 / tr M^2, M = W W^T, and M split into its mean eigenvalue
// and a traceless part, of which rotations average the product with another to 0 and its square to 2 / ((d - 1)(d +
// 2)):
//   mean = (E sqrt q)^2 / d
//   std^2 = ((E q)^2 - (E sqrt q)^4) / d^2 + 2 (1 - E q / d)^2 / ((d - 1)(d + 2))
// exactly. E q and E sqrt q have no closed form and are measured (measured_null.h); they hardly scatter, so this is far
// better known than from as many draws of pairs. For wide heads the mean is about d_k / (d + d_k + 1).
// Invariance: orthogonal. W R has the same W W^T for orthogonal R alone.
#include <cmath>

#include "experiments/probes/head_matrices.h"
#include "experiments/probes/measured_null.h"

namespace headscope::experiments {

namespace {

/// sqrt q above. W = U S V, so W W^T has the eigenvalues of the tridiagonal S S^T.
double draw_root(RandomHeads& random, Eigen::Index d, Eigen::Index k) {
    const Bidiagonal S = random.bidiagonal(d, k);
    double trace = 0, squares = 0;
    for (Eigen::Index i = 0; i < S.diagonal.size(); ++i) {
        const double above = i < S.above.size() ? S.above(i) : 0, own = S.diagonal(i) * S.diagonal(i) + above * above;
        const double beside = i < S.above.size() ? above * S.diagonal(i + 1) : 0;
        trace += own;
        squares += own * own + 2 * beside * beside;
    }
    return trace / std::sqrt(squares);
}

NullDistribution measure_null(std::int64_t d_model, std::int64_t head_dim) {
    const auto d = static_cast<double>(d_model);
    const std::vector<double> roots =
        draw_heads("null.gram_overlap", [&](RandomHeads& random) { return draw_root(random, d_model, head_dim); });
    const NullDistribution root = null_of(roots);
    const double first = root.mean * root.mean, scatter = root.std * root.std, q = first + scatter;
    const double traceless = d_model > 1 ? 2 / ((d - 1) * (d + 2)) : 0, rest = 1 - q / d;
    NullDistribution null{first / d, 0, root.draws, 2 * root.mean * root.mean_error / d, 0};
    null.std = std::sqrt(scatter * (q + first) / (d * d) + traceless * rest * rest);
    if (!(null.std > 0)) return null;
    // The error of std^2 to first order: that of the mean of what each draw adds to it.
    const double by_root = -4 * root.mean * first / (d * d), by_q = 2 * q / (d * d) - 2 * traceless * rest / d;
    std::vector<double> added;
    for (const double value : roots) added.push_back(by_root * value + by_q * value * value);
    null.std_error = null_of(added).mean_error / (2 * null.std);
    return null;
}

class GramOverlap : public HeadPairProbe {
public:
    MetricSpec spec(const ProbeSetup& setup) const override {
        static PerShape<NullDistribution> nulls;
        const NullDistribution null = nulls.get(setup.d_model(), setup.head_dim(),
                                                [&] { return measure_null(setup.d_model(), setup.head_dim()); });
        return {.name = "gram_overlap",
                .long_name = "overlap of two heads' subspaces weighted by energy",
                .units = "1",
                .formula = "<M_i, M_j> / (||M_i|| ||M_j||), M = W_p W_p^T, d x d",
                .source = "definition; uncentred linear CKA (Kornblith et al. 2019) of weights",
                .invariance = "orthogonal",
                .minimum = 0,
                .maximum = 1,
                .dimensions = head_pair_axes(setup, projection_axis()),
                .null_mean = null.mean,
                .null_std = null.std,
                .null_draws = null.draws,
                .null_mean_error = null.mean_error,
                .null_std_error = null.std_error};
    }

protected:
    void measure_pairs(const nn::MultiHeadAttention& attention, nn::Projection projection,
                       double* overlaps) const override {
        const std::int64_t heads = attention.num_heads();
        const Grams grams(attention, projection);
        const auto product = [&](std::int64_t i, std::int64_t j) { return grams.block(i, j).squaredNorm(); };
        for (std::int64_t i = 0; i < heads; ++i)
            for (std::int64_t j = 0; j <= i; ++j)
                overlaps[i * heads + j] = overlaps[j * heads + i] =
                    product(i, j) / std::sqrt(product(i, i) * product(j, j));
    }
};

const RegisterProbe registered_gram_overlap("gram_overlap", [] { return std::make_unique<GramOverlap>(); });

}  // namespace

}  // namespace headscope::experiments
