// overlap: how far two heads of a layer read from (or write to) the same directions of the residual stream.
//
//   overlap[l, p, i, j] = ||U_i^T U_j||_F^2 / min(d_k, d)
//
// U_i is an orthonormal basis of head i's subspace of W_p on the d_model side: the columns of W_p^h as a d x d_k matrix
// (for o those of W_o^h transposed). It is the mean squared cosine of the principal angles (Bjorck and Golub 1973).
// Shape [L, 4, H, H], units 1, range [0, 1]: 0 = orthogonal, 1 = the same subspace. A head that spans nothing scores 0.
// Null, for two independent uniformly random subspaces: mean d_k/d, standard deviation
// sqrt(2) (d - d_k) / (d sqrt((d - 1)(d + 2))).
// Invariance: GL. Changing a head's inner basis changes the columns, not their span.
//
// orthogonality: the same, summed up over a layer's heads.
//
//   orthogonality[l, p, 0] = mean over i != j of overlap[l, p, i, j]
//   orthogonality[l, p, 1] = (that mean - null mean) / its null standard deviation,
//     the latter being that of one pair over sqrt(H (H - 1) / 2): any two pairs of independent subspaces are
//     uncorrelated
// Shape [L, 4, 2] (statistic: mean, z_null), units 1, mean in [0, 1]. NaN with one head; z_null is also NaN where d_k
// >= d, where overlap cannot be but 1. Null: the attributes are those of `mean`; z_null has 0 and 1. Invariance: GL.
// The z-score against the run's own start is z_null minus z_null of row 0, which every log has. It is not stored: a
// probe sees the weights of today alone, and row 0 is in the log also after a resume.
#include <algorithm>
#include <cmath>
#include <limits>

#include "experiments/probes/head_matrices.h"
#include "experiments/probes/subspace_null.h"

namespace headscope::experiments {

namespace {

constexpr double not_measured = std::numeric_limits<double>::quiet_NaN();

/// L^-1 where gram = L L^T. False when gram is too close to singular to be trusted with this. Much quicker than Eigen's
/// for the small matrices of heads.
bool invert_cholesky(const Eigen::Ref<const RowMajorMatrix>& gram, RowMajorMatrix& inverse) {
    // Elimination on [gram | 1], row by row, leaves [L^T | L^-1]. Rows are padded to whole groups of numbers. Each step
    // touches columns r of the left part to c of the right one, rounded out to groups: what lies beyond is not needed
    // on the left and 0 on the right.
    constexpr Eigen::Index lanes = 8;
    using Group = Eigen::Array<double, lanes, 1>;
    const Eigen::Index k = gram.rows(), width = (k + lanes - 1) / lanes * lanes;
    RowMajorMatrix rows = RowMajorMatrix::Zero(k, 2 * width);
    rows.leftCols(k) = gram;
    for (Eigen::Index c = 0; c < k; ++c) {
        const double pivot = rows(c, c);
        if (!(pivot > 0)) return false;
        rows(c, width + c) = 1;
        const Eigen::Index end = width + c + 1;
        double* const row = rows.row(c).data();
        const double scale = 1 / std::sqrt(pivot);
        for (Eigen::Index j = c / lanes * lanes; j < end; j += lanes) Eigen::Map<Group>(row + j) *= scale;
        for (Eigen::Index r = c + 1; r < k; ++r) {
            double* const below = rows.row(r).data();
            const double factor = row[r];
            for (Eigen::Index j = r / lanes * lanes; j < end; j += lanes)
                Eigen::Map<Group>(below + j) -= factor * Eigen::Map<const Group>(row + j);
        }
    }
    inverse = rows.middleCols(width, k);
    // tr(G) tr(G^-1) lies between the condition number and d_k^2 times it; an overlap's error is that much rounding.
    return gram.trace() * inverse.squaredNorm() < 1e9;
}

/// U_i^T U_j = L_i^-1 (W_i^T W_j) L_j^-T without making the bases. False, with `overlaps` unfinished, when a head's
/// columns are (nearly) dependent.
bool overlaps_by_cholesky(const nn::MultiHeadAttention& attention, nn::Projection projection, double* overlaps) {
    const std::int64_t heads = attention.num_heads(), k = attention.head_dim();
    if (k > attention.d_model()) return false;
    const Grams grams(attention, projection);
    std::vector<RowMajorMatrix> inverse(static_cast<std::size_t>(heads));
    RowMajorMatrix half, product;
    for (std::int64_t i = 0; i < heads; ++i) {
        RowMajorMatrix& own = inverse[static_cast<std::size_t>(i)];
        if (!invert_cholesky(grams.block(i, i), own)) return false;
        overlaps[i * heads + i] = 1;
        for (std::int64_t j = 0; j < i; ++j) {
            multiply_between(own, grams.block(i, j), inverse[static_cast<std::size_t>(j)], half, product);
            overlaps[i * heads + j] = overlaps[j * heads + i] = product.squaredNorm() / static_cast<double>(k);
        }
    }
    return true;
}

void overlaps_by_bases(const nn::MultiHeadAttention& attention, nn::Projection projection, double* overlaps) {
    const std::int64_t heads = attention.num_heads();
    const double largest = static_cast<double>(std::min(attention.head_dim(), attention.d_model()));
    std::vector<Matrix> bases;
    for (std::int64_t i = 0; i < heads; ++i) {
        bases.push_back(orthonormal_factors(head_matrix(attention, i, projection)).basis);
        overlaps[i * heads + i] = static_cast<double>(bases.back().cols()) / largest;
        for (std::int64_t j = 0; j < i; ++j) {
            const Matrix product = multiply_tn(bases.back(), bases[static_cast<std::size_t>(j)]);
            overlaps[i * heads + j] = overlaps[j * heads + i] = product.squaredNorm() / largest;
        }
    }
}

/// Fills [H, H].
void measure_overlaps(const nn::MultiHeadAttention& attention, nn::Projection projection, double* overlaps) {
    if (!overlaps_by_cholesky(attention, projection, overlaps)) overlaps_by_bases(attention, projection, overlaps);
}

NullDistribution null_of_mean(std::int64_t d_model, std::int64_t head_dim, std::int64_t heads) {
    if (heads == 1) return {not_measured, not_measured};
    const NullDistribution pair = subspace_overlap_null(d_model, head_dim);
    return {pair.mean, pair.std / std::sqrt(static_cast<double>(heads * (heads - 1)) / 2)};
}

class Overlap : public HeadPairProbe {
public:
    MetricSpec spec(const ProbeSetup& setup) const override {
        const NullDistribution null = subspace_overlap_null(setup.d_model(), setup.head_dim());
        return {.name = "overlap",
                .long_name = "overlap of two heads' subspaces",
                .units = "1",
                .formula = "||U_i^T U_j||_F^2 / min(d_k, d), U an orthonormal basis of a head's subspace of W_p",
                .source = "Bjorck and Golub 1973, mean squared cosine of the principal angles",
                .invariance = "GL",
                .minimum = 0,
                .maximum = 1,
                .dimensions = head_pair_axes(setup, projection_axis()),
                .null_mean = null.mean,
                .null_std = null.std};
    }

protected:
    void measure_pairs(const nn::MultiHeadAttention& attention, nn::Projection projection,
                       double* overlaps) const override {
        measure_overlaps(attention, projection, overlaps);
    }
};

class Orthogonality : public Probe {
public:
    MetricSpec spec(const ProbeSetup& setup) const override {
        const NullDistribution null = null_of_mean(setup.d_model(), setup.head_dim(), setup.heads());
        return {.name = "orthogonality",
                .long_name = "mean overlap of different heads' subspaces",
                .units = "1",
                .formula = "mean over i != j of overlap; z_null = (mean - null_mean) / null_std",
                .source = "mean of overlap (Bjorck and Golub 1973) over the pairs of heads",
                .invariance = "GL",
                .dimensions = {{"layer", setup.layers(), {}}, projection_axis(), {"statistic", 2, {"mean", "z_null"}}},
                .null_mean = null.mean,
                .null_std = null.std};
    }

    ProbeStage stage() const override { return ProbeStage::weights; }

    std::vector<double> measure(const ProbeContext& context) const override {
        return measure_projections(
            context.model, 2, products_work(context.model),
            [](const nn::MultiHeadAttention& attention, nn::Projection projection, double* statistics) {
                const std::int64_t heads = attention.num_heads();
                std::vector<double> overlaps(static_cast<std::size_t>(heads * heads));
                measure_overlaps(attention, projection, overlaps.data());
                double sum = 0;
                for (std::int64_t i = 0; i < heads; ++i)
                    for (std::int64_t j = 0; j < i; ++j) sum += overlaps[static_cast<std::size_t>(i * heads + j)];
                const double mean = sum / (static_cast<double>(heads * (heads - 1)) / 2);
                const NullDistribution null = null_of_mean(attention.d_model(), attention.head_dim(), heads);
                statistics[0] = mean;
                statistics[1] = null.std > 0 ? (mean - null.mean) / null.std : not_measured;
            });
    }
};

const RegisterProbe registered_overlap("overlap", [] { return std::make_unique<Overlap>(); });
const RegisterProbe registered_orthogonality("orthogonality", [] { return std::make_unique<Orthogonality>(); });

}  // namespace

}  // namespace headscope::experiments
