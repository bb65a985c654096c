// What heads write into the residual stream, on the fixed evaluation batches. y_n = W_o^h o_n [d] is head h's own part
// of the attention's output (head_result, without W_o's bias) at position n; N = all positions of all sequences.
//
//   output_norm[l, h] = mean over n of ||y_n||
//     Shape [L, H], units 1, range [0, inf). Source: Kobayashi et al. 2020, "Attention is not only a weight". Null:
//     none.
//   output_cka[l, i, j] = ||Y_i^T Y_j||_F^2 / (||Y_i^T Y_i||_F ||Y_j^T Y_j||_F), Y [N, d] with each column's mean taken
//   off
//     Linear CKA: do two heads tell the positions apart alike? Shape [L, H, H], units 1, range [0, 1]. NaN for a head
//     whose output is everywhere the same. Source: Kornblith et al. 2019, "Similarity of neural network
//     representations".
//   output_cka_null[l, i, j] = the mean of output_cka[l, i, j] over all N! orders of the rows of Y_j, which says what
//     is left when nothing is shared but the spectra: tr K_i tr K_j / ((N - 1) ||K_i||_F ||K_j||_F), K = Y Y^T, since
//     the mean of P K P^T over all orders P is tr K / (N - 1) (I - 1 1^T / N) for a K whose rows sum to 0. It depends
//     on what the heads write, so it is a series like the metric and not a number of its own.
//
// Invariance: GL. R on W_v and R^-1 on W_o leave y as it is. The same for models that are not causal.
//
// Nothing of size N x N or N x d is formed: with W_o^h = Q R, Q's columns orthonormal, y = Q R o has the norm of R o,
// and
// ||Y_i^T Y_j|| = ||R_i (O_i^T O_j) R_j^T||, so sums of d_k x d_k products o o^T are all that is needed.
#include <cmath>

#include "autograd/parallel.h"
#include "experiments/probes/capture.h"
#include "experiments/probes/head_matrices.h"

namespace headscope::experiments {

namespace {

/// R [min(d, d_k), d_k] of W_o^h = Q R.
Matrix triangle_of(const nn::MultiHeadAttention& attention, std::int64_t head) {
    return upper_triangle(head_matrix(attention, head, nn::Projection::o));
}

/// One head's outputs before W_o as columns, [d_k, B T].
Matrix outputs_of(const Tensor& head_out, std::int64_t head) {
    const std::int64_t sequences = head_out.size(0), heads = head_out.size(1), length = head_out.size(2),
                       width = head_out.size(3);
    Matrix outputs(width, sequences * length);
    dispatch_float(head_out.dtype(), "head_output", [&](auto scalar) {
        using T = decltype(scalar);
        for (std::int64_t sequence = 0; sequence < sequences; ++sequence)
            std::copy_n(head_out.data<T>() + (sequence * heads + head) * length * width, length * width,
                        outputs.data() + sequence * length * width);
    });
    return outputs;
}

class MeanNorm : public Accumulator {
public:
    explicit MeanNorm(const nn::Transformer& model)
        : model_(model),
          heads_(model.options().block.num_heads),
          sums_(static_cast<std::size_t>(model.num_layers() * heads_)) {}

    void add(const Capture& capture) override {
        // One chunk per head: each sum is one thread's, in the order of the batches.
        parallel_chunks(capture.num_layers() * heads_, [&](std::int64_t chunk) {
            const std::int64_t layer = chunk / heads_, head = chunk % heads_;
            const Matrix R = triangle_of(model_.blocks[static_cast<std::size_t>(layer)]->attn, head);
            const Matrix outputs = multiply(R, outputs_of(capture.layer(layer).head_out(), head));
            sums_[static_cast<std::size_t>(chunk)] += outputs.colwise().norm().sum();
        });
        rows_ += capture.batch().inputs.numel();
    }

    std::vector<double> values() const override {
        std::vector<double> means = sums_;
        for (double& mean : means) mean /= static_cast<double>(rows_);
        return means;
    }

private:
    const nn::Transformer& model_;
    std::int64_t heads_, rows_ = 0;
    std::vector<double> sums_;
};

/// Gathers what is needed of the heads' outputs o before W_o.
class Similarity : public Accumulator {
public:
    Similarity(const nn::Transformer& model, bool shuffled)
        : model_(model), shuffled_(shuffled), heads_(model.options().block.num_heads) {
        for (const auto& block : model.blocks) {
            const std::int64_t width = heads_ * block->attn.head_dim();
            layers_.push_back({Matrix::Zero(width, width), Eigen::VectorXd::Zero(width)});
        }
    }

    void add(const Capture& capture) override {
        for (std::size_t l = 0; l < layers_.size(); ++l) {
            const Tensor& head_out = capture.layer(static_cast<std::int64_t>(l)).head_out();
            const std::int64_t width = head_out.size(3);
            std::vector<Matrix> outputs(static_cast<std::size_t>(heads_));
            parallel_chunks(heads_, [&](std::int64_t i) {
                const Matrix& own = outputs[static_cast<std::size_t>(i)] = outputs_of(head_out, i);
                layers_[l].sums.segment(i * width, width) += own.rowwise().sum();
            });
            parallel_chunks(heads_ * heads_, [&](std::int64_t pair) {
                const std::int64_t i = pair / heads_, j = pair % heads_;
                if (i > j) return;
                layers_[l].products.block(i * width, j * width, width, width) +=
                    multiply_nt(outputs[static_cast<std::size_t>(i)], outputs[static_cast<std::size_t>(j)]);
            });
        }
        rows_ += static_cast<double>(capture.batch().inputs.numel());
    }

    std::vector<double> values() const override {
        std::vector<double> all(layers_.size() * static_cast<std::size_t>(heads_ * heads_));
        for (std::size_t l = 0; l < layers_.size(); ++l)
            compare_heads(l, all.data() + l * static_cast<std::size_t>(heads_ * heads_));
        return all;
    }

private:
    struct Layer {
        Matrix products;       ///< [H d_k, H d_k]: sum of o o^T, blocks i <= j only
        Eigen::VectorXd sums;  ///< [H d_k]: sum of o
    };

    /// Fills [H, H].
    void compare_heads(std::size_t l, double* values) const {
        const nn::MultiHeadAttention& attention = model_.blocks[l]->attn;
        const std::int64_t width = attention.head_dim();
        std::vector<Matrix> R;
        for (std::int64_t head = 0; head < heads_; ++head) R.push_back(triangle_of(attention, head));
        /// Y_i^T Y_j but for orthonormal factors on both sides.
        const auto product = [&](std::int64_t i, std::int64_t j) -> Matrix {
            const auto sum_i = layers_[l].sums.segment(i * width, width);
            const auto sum_j = layers_[l].sums.segment(j * width, width);
            const Matrix centred =
                layers_[l].products.block(i * width, j * width, width, width) - sum_i * sum_j.transpose() / rows_;
            return multiply_nt(multiply(R[static_cast<std::size_t>(i)], centred), R[static_cast<std::size_t>(j)]);
        };
        std::vector<Matrix> own;
        for (std::int64_t head = 0; head < heads_; ++head) own.push_back(product(head, head));
        for (std::int64_t i = 0; i < heads_; ++i)
            for (std::int64_t j = i; j < heads_; ++j) {
                const Matrix &own_i = own[static_cast<std::size_t>(i)], &own_j = own[static_cast<std::size_t>(j)];
                const double shared =
                    shuffled_ ? own_i.trace() * own_j.trace() / (rows_ - 1) : product(i, j).squaredNorm();
                values[i * heads_ + j] = values[j * heads_ + i] = shared / (own_i.norm() * own_j.norm());
            }
    }

    const nn::Transformer& model_;
    bool shuffled_;
    std::int64_t heads_;
    double rows_ = 0;
    std::vector<Layer> layers_;
};

class OutputNorm : public CaptureProbe {
public:
    MetricSpec spec(const ProbeSetup& setup) const override {
        return {.name = "output_norm",
                .long_name = "mean norm of what a head adds to the residual stream",
                .units = "1",
                .formula = "mean over sequences and positions of ||W_o^h o||, on the evaluation batches",
                .source = "Kobayashi et al. 2020",
                .invariance = "GL",
                .minimum = 0,
                .dimensions = {{"layer", setup.layers(), {}}, {"head", setup.heads(), {}}}};
    }

    std::unique_ptr<Accumulator> accumulate(const ProbeContext& context) const override {
        return std::make_unique<MeanNorm>(context.model);
    }
};

/// output_cka, or its null.
class OutputCka : public CaptureProbe {
public:
    explicit OutputCka(bool shuffled) : shuffled_(shuffled) {}

    MetricSpec spec(const ProbeSetup& setup) const override {
        const std::string cka = "||Y_i^T Y_j||_F^2 / (||Y_i^T Y_i||_F ||Y_j^T Y_j||_F)";
        return {.name = shuffled_ ? "output_cka_null" : "output_cka",
                .long_name = shuffled_ ? "similarity of two heads' outputs, one of them shuffled"
                                       : "similarity of two heads' outputs after W_o",
                .units = "1",
                .formula = shuffled_ ? "mean over all orders of Y_j's rows of " + cka + ", as output_cka"
                                     : cka +
                                           ", Y [positions, d] a head's centred outputs on the evaluation batches; "
                                           "its null is the series output_cka_null",
                .source = "Kornblith et al. 2019, linear CKA",
                .invariance = "GL",
                .minimum = 0,
                .maximum = 1,
                .dimensions = {
                    {"layer", setup.layers(), {}}, {"head", setup.heads(), {}}, {"head_other", setup.heads(), {}}}};
    }

    std::unique_ptr<Accumulator> accumulate(const ProbeContext& context) const override {
        return std::make_unique<Similarity>(context.model, shuffled_);
    }

private:
    bool shuffled_;
};

const RegisterProbe registered_norm("output_norm", [] { return std::make_unique<OutputNorm>(); });
const RegisterProbe registered_cka("output_cka", [] { return std::make_unique<OutputCka>(false); });
const RegisterProbe registered_null("output_cka_null", [] { return std::make_unique<OutputCka>(true); });

}  // namespace

}  // namespace headscope::experiments
