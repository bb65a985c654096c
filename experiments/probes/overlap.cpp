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
#include <Eigen/Cholesky>
#include <Eigen/QR>
#include <algorithm>
#include <cmath>

#include "autograd/parallel.h"
#include "experiments/probes/probe.h"

namespace headscope {

namespace {

using Matrix = Eigen::MatrixXd;

/// A head's block as d_model x d_k, in f64.
Matrix columns_of(const nn::HeadSlice& slice, bool transposed) {
    const std::int64_t stride = slice.weight.size(1);
    Matrix columns(transposed ? slice.cols : slice.rows, transposed ? slice.rows : slice.cols);
    dispatch_float(slice.weight.dtype(), "overlap", [&](auto scalar) {
        using T = decltype(scalar);
        const T* block = slice.weight.data<T>() + slice.row * stride + slice.col;
        for (std::int64_t row = 0; row < slice.rows; ++row)
            for (std::int64_t col = 0; col < slice.cols; ++col) {
                const double value = static_cast<double>(block[row * stride + col]);
                if (transposed) columns(col, row) = value;
                else columns(row, col) = value;
            }
    });
    return columns;
}

/// Orthonormal basis of the span of A's columns, [d, rank].
Matrix orthonormal_basis(const Matrix& A) {
    // The quick way: A^T A = L L^T, U = A L^-T. Its error grows with the condition number of the Gram matrix, which the
    // limit keeps below 1e-8.
    if (A.cols() <= A.rows()) {
        const Eigen::LLT<Matrix> cholesky(A.transpose() * A);
        if (cholesky.info() == Eigen::Success && cholesky.rcond() > 1e-8)
            return cholesky.matrixL().solve(A.transpose()).transpose();
    }
    const Eigen::ColPivHouseholderQR<Matrix> qr(A);
    return qr.householderQ() * Matrix::Identity(A.rows(), qr.rank());
}

/// Fills [H, H] for one projection of one layer.
void measure_projection(const nn::MultiHeadAttention& attention, nn::Projection projection, double* overlaps) {
    const std::int64_t heads = attention.num_heads();
    const double largest = static_cast<double>(std::min(attention.head_dim(), attention.d_model()));
    std::vector<Matrix> bases;
    for (std::int64_t head = 0; head < heads; ++head) {
        const bool transposed = projection != nn::Projection::o;  // stored as d_k x d_model
        bases.push_back(orthonormal_basis(columns_of(head_slice(attention, head, projection), transposed)));
    }
    for (std::int64_t i = 0; i < heads; ++i) {
        const Matrix& U_i = bases[static_cast<std::size_t>(i)];
        overlaps[i * heads + i] = static_cast<double>(U_i.cols()) / largest;
        for (std::int64_t j = 0; j < i; ++j) {
            const Matrix product = U_i.transpose() * bases[static_cast<std::size_t>(j)];
            overlaps[i * heads + j] = overlaps[j * heads + i] = product.squaredNorm() / largest;
        }
    }
}

class Overlap : public Probe {
public:
    MetricSpec spec(const ProbeSetup& setup) const override {
        const auto d = static_cast<double>(setup.d_model());
        const double k = std::min(static_cast<double>(setup.head_dim()), d);
        return {.name = "overlap",
                .long_name = "overlap of two heads' subspaces",
                .units = "1",
                .formula = "||U_i^T U_j||_F^2 / min(d_k, d), U an orthonormal basis of a head's subspace of W_p",
                .source = "Bjorck and Golub 1973, mean squared cosine of the principal angles",
                .invariance = "GL",
                .minimum = 0,
                .maximum = 1,
                .dimensions = {{"layer", setup.layers(), {}},
                               {"projection", 4, {"q", "k", "v", "o"}},
                               {"head", setup.heads(), {}},
                               {"head_other", setup.heads(), {}}},
                .null_mean = k / d,
                .null_std = k < d ? std::sqrt(2.0) * (d - k) / (d * std::sqrt((d - 1) * (d + 2))) : 0.0};
    }

    Moment moment() const override { return Moment::weights; }

    std::vector<double> measure(const ProbeContext& context) const override {
        const std::int64_t heads = context.model.options().block.num_heads;
        std::vector<double> overlaps(static_cast<std::size_t>(context.model.num_layers() * 4 * heads * heads));
        // Threads pay off from about a million multiplications on.
        const std::int64_t width = heads * context.model.blocks[0]->attn.head_dim();
        const std::int64_t grain = 1 + 1'000'000 / (width * width * context.model.options().block.d_model);
        parallel_for(context.model.num_layers() * 4, grain, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i)
                measure_projection(context.model.blocks[static_cast<std::size_t>(i / 4)]->attn, nn::projections[i % 4],
                                   overlaps.data() + i * heads * heads);
        });
        return overlaps;
    }
};

const RegisterProbe registered("overlap", [] { return std::make_unique<Overlap>(); });

}  // namespace

}  // namespace headscope
