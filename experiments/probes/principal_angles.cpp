// principal_angles: the angles between two heads' subspaces, one by one.
//
//   principal_angles[l, p, i, j, m] = arccos of the m-th singular value of U_i^T U_j, largest first
//
// U_i is an orthonormal basis of the columns of W_p^h as a d x d_k matrix (for o of W_o^h transposed). Shape
// [L, 4, H, H, min(d_k, d)], units rad, range [0, pi/2], rising in m. The mean of their squared cosines is `overlap`.
// An angle that is not there, when a head spans fewer dimensions, is NaN. Angles near 0 are right to 1e-7, as arccos is
// steep there. Source: Bjorck and Golub 1973. Invariance: GL.
//
// overlap_top: overlap of the few directions in which a head's matrix is largest.
//
//   overlap_top[l, p, i, j] = ||U_i^T U_j||_F^2 / r,    r = min(4, d_k, d)
//
// U_i holds the first r left singular vectors of W_p^h on the d_model side (those with singular values above rounding).
// Shape [L, 4, H, H], units 1, range [0, 1]. Where singular value r equals the next one, as in an orthogonal start, the
// directions are not defined and their choice is arbitrary.
// Null, for independent normal weights: as for overlap with r in place of d_k, since the directions are uniform too:
// mean r/d, standard deviation sqrt(2) (d - r) / (d sqrt((d - 1)(d + 2))).
// Source: mean squared cosine of principal angles (Bjorck and Golub 1973) of singular subspaces.
// Invariance: orthogonal. Stretching the inner basis changes which directions are largest. GL for heads of 4 dimensions
// or fewer, where all directions are taken and it is `overlap`.
#include <algorithm>
#include <cmath>
#include <limits>

#include "experiments/probes/head_matrices.h"
#include "experiments/probes/subspace_null.h"

namespace headscope::experiments {

namespace {

/// One [d, .] matrix for each head.
template <class Make>
std::vector<Matrix> for_each_head(const nn::MultiHeadAttention& attention, nn::Projection projection, Make&& make) {
    std::vector<Matrix> made;
    for (std::int64_t head = 0; head < attention.num_heads(); ++head)
        made.push_back(make(head_matrix(attention, head, projection)));
    return made;
}

class PrincipalAngles : public Probe {
public:
    MetricSpec spec(const ProbeSetup& setup) const override {
        std::vector<Dimension> axes = head_pair_axes(setup, projection_axis());
        axes.push_back({"component", std::min(setup.head_dim(), setup.d_model()), {}});
        return {
            .name = "principal_angles",
            .long_name = "principal angles between two heads' subspaces",
            .units = "rad",
            .formula = "arccos of the singular values of U_i^T U_j, U an orthonormal basis of a head's subspace of W_p",
            .source = "Bjorck and Golub 1973",
            .invariance = "GL",
            .minimum = 0,
            .maximum = std::acos(0.0),
            .dimensions = axes};
    }

    ProbeStage stage() const override { return ProbeStage::weights; }

    std::vector<double> measure(const ProbeContext& context) const override {
        const nn::TransformerOptions& options = context.model.options();
        const std::int64_t heads = options.block.num_heads, most = std::min(options.head_dim(), options.block.d_model);
        return measure_projections(
            context.model, heads * heads * most, products_work(context.model),
            [=](const nn::MultiHeadAttention& attention, nn::Projection projection, double* angles) {
                const std::vector<Matrix> bases =
                    for_each_head(attention, projection, [](const Matrix& W) { return orthonormal_factors(W).basis; });
                std::fill_n(angles, heads * heads * most, std::numeric_limits<double>::quiet_NaN());
                for (std::int64_t i = 0; i < heads; ++i)
                    for (std::int64_t j = 0; j <= i; ++j) {
                        const Matrix &U_i = bases[static_cast<std::size_t>(i)],
                                     &U_j = bases[static_cast<std::size_t>(j)];
                        double* const own = angles + (i * heads + j) * most;
                        const Eigen::Index there = std::min(U_i.cols(), U_j.cols());
                        if (i == j) {
                            std::fill_n(own, there, 0.0);
                            continue;
                        }
                        const Eigen::VectorXd cosines = singular_values(multiply_tn(U_i, U_j));
                        for (Eigen::Index m = 0; m < there; ++m) own[m] = std::acos(std::min(cosines(m), 1.0));
                        std::copy_n(own, most, angles + (j * heads + i) * most);
                    }
            });
    }
};

class OverlapTop : public HeadPairProbe {
public:
    MetricSpec spec(const ProbeSetup& setup) const override {
        const std::int64_t r = directions(setup.d_model(), setup.head_dim());
        const NullDistribution null = subspace_overlap_null(setup.d_model(), r);
        return {.name = "overlap_top",
                .long_name = "overlap of two heads' largest directions",
                .units = "1",
                .formula = "||U_i^T U_j||_F^2 / r, U the leading r = min(4, d_k, d) left singular vectors of W_p",
                .source = "mean squared cosine of principal angles (Bjorck and Golub 1973) of singular subspaces",
                .invariance = r == std::min(setup.d_model(), setup.head_dim()) ? "GL" : "orthogonal",
                .minimum = 0,
                .maximum = 1,
                .dimensions = head_pair_axes(setup, projection_axis()),
                .null_mean = null.mean,
                .null_std = null.std};
    }

protected:
    void measure_pairs(const nn::MultiHeadAttention& attention, nn::Projection projection,
                       double* overlaps) const override {
        const std::int64_t heads = attention.num_heads(), r = directions(attention.d_model(), attention.head_dim());
        const std::vector<Matrix> leading =
            for_each_head(attention, projection, [=](const Matrix& W) { return leading_directions(W, r); });
        for (std::int64_t i = 0; i < heads; ++i)
            for (std::int64_t j = 0; j <= i; ++j) {
                const Matrix product =
                    multiply_tn(leading[static_cast<std::size_t>(i)], leading[static_cast<std::size_t>(j)]);
                overlaps[i * heads + j] = overlaps[j * heads + i] = product.squaredNorm() / static_cast<double>(r);
            }
    }

private:
    /// r above.
    static std::int64_t directions(std::int64_t d_model, std::int64_t head_dim) {
        return std::min({std::int64_t{4}, head_dim, d_model});
    }
};

const RegisterProbe registered_angles("principal_angles", [] { return std::make_unique<PrincipalAngles>(); });
const RegisterProbe registered_top("overlap_top", [] { return std::make_unique<OverlapTop>(); });

}  // namespace

}  // namespace headscope::experiments
