// gram_overlap: overlap of two heads' subspaces with every direction weighted by how large the head's matrix is in it.
//
//   gram_overlap[l, p, i, j] = <M_i, M_j> / (||M_i|| ||M_j||),    M_i = W_p^i W_p^i^T, d x d
//     <M_i, M_j> = ||W_p^i^T W_p^j||_F^2, so d_k x d_k products do
//
// W_p^i is d x d_k (for o it is W_o^i transposed). Shape [L, 4, H, H], units 1, range [0, 1]. NaN for a head that is
// all 0. Source: definition; it is the linear centred kernel alignment (Kornblith et al. 2019) of the weights' rows,
// without the centring.
// Null: measured on independent normal matrices of that shape (random_heads.h); for wide heads about d_k / (d + d_k +
// 1). Invariance: orthogonal. W R has the same W W^T for orthogonal R alone.
#include <cmath>

#include "experiments/probes/head_matrices.h"
#include "experiments/probes/random_heads.h"

namespace headscope::experiments {

namespace {

double draw_overlap(RandomHeads& random, Eigen::Index d, Eigen::Index k) {
    // Two heads, the first turned into its own first unit vectors.
    const Matrix A = random.triangle(d, k), top = random.normal(A.rows(), k);
    Matrix gram = multiply_tn(top, top);
    if (d > k) {
        const Matrix rest = random.triangle(d - k, k);
        gram += multiply_tn(rest, rest);
    }
    return multiply_tn(A, top).squaredNorm() / (multiply_tn(A, A).norm() * gram.norm());
}

class GramOverlap : public HeadPairProbe {
public:
    MetricSpec spec(const ProbeSetup& setup) const override {
        const NullDistribution null = measured_null("null.gram_overlap", setup, [&](RandomHeads& random) {
            return draw_overlap(random, setup.d_model(), setup.head_dim());
        });
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
                .null_std = null.std};
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
