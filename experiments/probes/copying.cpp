// copying: does a head raise the logits of the tokens that it attends to?
//
//   copying[l, h] = sum_i Re lambda_i / sum_i |lambda_i|     lambda the eigenvalues of W_E OV_h W_U
//
// W_E [V, d] is the embedding, OV_h = W_v^h W_o^h [d, d] and W_U [d, V] the head of the model (W_E^T when tied);
// biases, positions, norms and other layers are left out. Shape [L, H], units 1, range [-1, 1]: 1 = copies whatever it
// reads, -1 = speaks against it. NaN for a head whose circuit is 0. Source: Elhage et al. 2021, "A mathematical
// framework for transformer circuits". The V x V matrix is never formed: A B and B A have the same nonzero eigenvalues,
// so those of the d_k x d_k matrix W_o^h (W_U W_E) W_v^h will do. Invariance: GL. R on W_v and R^-1 on W_o turn that
// matrix into R^-1 M R. Null: the mean is 0, as changing the sign of W_v changes that of the metric; its spread is of
// no simple form and not given. The same whether causal or not.
#include "autograd/parallel.h"
#include "experiments/probes/head_matrices.h"
#include "experiments/probes/probe.h"

namespace headscope::experiments {

namespace {

/// inner = W_U W_E, [d, d].
double copying_score(const nn::MultiHeadAttention& attention, std::int64_t head, const Matrix& inner) {
    const Matrix W_v = head_matrix(attention, head, nn::Projection::v);  // [d, d_k]
    const Matrix W_o = head_matrix(attention, head, nn::Projection::o);  // [d, d_k]: W_o^h transposed
    const Matrix M = multiply_tn(W_o, multiply(inner, W_v));
    const Eigen::VectorXcd lambda = eigenvalues(M);
    return lambda.real().sum() / lambda.cwiseAbs().sum();
}

class Copying : public Probe {
public:
    MetricSpec spec(const ProbeSetup& setup) const override {
        return {.name = "copying",
                .long_name = "how far a head raises the logits of the tokens it attends to",
                .units = "1",
                .formula = "sum Re lambda / sum |lambda|, lambda the eigenvalues of W_E OV_h W_U",
                .source = "Elhage et al. 2021",
                .invariance = "GL",
                .minimum = -1,
                .maximum = 1,
                .dimensions = {{"layer", setup.layers(), {}}, {"head", setup.heads(), {}}}};
    }

    ProbeStage stage() const override { return ProbeStage::weights; }

    std::vector<double> measure(const ProbeContext& context) const override {
        const nn::Transformer& model = context.model;
        const Tensor& embedding = model.embedding.weight;  // [V, d]
        const Tensor& unembedding = model.head != nullptr ? model.head->weight : embedding;
        const Matrix inner = multiply_tn(to_matrix(unembedding), to_matrix(embedding));
        const std::int64_t heads = model.options().block.num_heads;
        std::vector<double> scores(static_cast<std::size_t>(model.num_layers() * heads));
        parallel_chunks(model.num_layers() * heads, [&](std::int64_t i) {
            const nn::MultiHeadAttention& attention = model.blocks[static_cast<std::size_t>(i / heads)]->attn;
            scores[static_cast<std::size_t>(i)] = copying_score(attention, i % heads, inner);
        });
        return scores;
    }
};

const RegisterProbe registered_copying("copying", [] { return std::make_unique<Copying>(); });

}  // namespace

}  // namespace headscope::experiments
