// grad_norm_circuit: how hard the step's gradient pulls on what a head computes, through each of its factors.
//
//   q: ||dW_q pinv(W_k)||_F   k: ||dW_k pinv(W_q)||_F   v: ||dW_v pinv(W_o^T)||_F   o: ||pinv(W_v^T) dW_o||_F
//
// where dW = dL/dW, all of one head, W_q, W_k, W_v [d, d_k], W_o [d_k, d].
// Shape [L, H, 4] (through q, k, v, o), units 1, range [0, inf). The step's own gradient; weights only, no biases.
// Source: derived here. The scores depend on W_q and W_k through QK = W_q W_k^T alone. With G = dL/dQK, dW_q = G W_k;
// so dW_q pinv(W_k) = G P, P the projector onto the columns of W_k: the part of G that W_q can follow. Likewise
// dW_k = G^T W_q, and with OV = W_v W_o, G = dL/dOV: dW_v = G W_o^T, dW_o = W_v^T G. Biases b_q and b_v add a term of
// their own to dW_k and dW_o (b_k adds nothing under softmax), which turns with the basis as the rest does.
// Tests hold it against dL/dQK and dL/dOV themselves.
// Where there is no one QK (rotary positions, linear attention) the numbers for q and k are just what the formula says,
// and depend on the basis.
// Invariance: GL. dW_q turns into dW_q R^-T and pinv(W_k) into R^T pinv(W_k).
// Singular values of a factor below max(d, d_k) eps times its largest count as zero, eps that of the weights' type:
// what is smaller is rounding. A head whose partner spans nothing scores 0.
#include <limits>

#include "experiments/probes/head_blocks.h"
#include "experiments/probes/linear_algebra.h"
#include "experiments/probes/probe.h"

namespace headscope::experiments {

namespace {

/// A head's block of a matrix as d_k x d, in f64.
Matrix inner_rows(const Tensor& matrix, const HeadBlock& block) {
    return dispatch_float(matrix.dtype(), "grad_norm_circuit", [&](auto zero) -> Matrix {
        using T = decltype(zero);
        using Stored = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
        const Eigen::Map<const Stored, 0, Eigen::OuterStride<>> stored(matrix.data<T>() + block.offset, block.rows,
                                                                       block.cols, Eigen::OuterStride<>(block.stride));
        if (block.projection == nn::Projection::o) return stored.transpose().template cast<double>();
        return stored.template cast<double>();
    });
}

nn::Projection partner_of(nn::Projection projection) {
    switch (projection) {
        case nn::Projection::q: return nn::Projection::k;
        case nn::Projection::k: return nn::Projection::q;
        case nn::Projection::v: return nn::Projection::o;
        case nn::Projection::o: return nn::Projection::v;
    }
    throw Error("partner_of: no such projection");
}

/// Distance from 1 to the next number of the type.
double epsilon_of(DType dtype) {
    return dtype == DType::f32 ? static_cast<double>(std::numeric_limits<float>::epsilon())
                               : std::numeric_limits<double>::epsilon();
}

class GradNormCircuit : public Probe {
public:
    MetricSpec spec(const ProbeSetup& setup) const override {
        return {
            .name = "grad_norm_circuit",
            .long_name = "pull of the loss gradient on a head's circuits through each factor",
            .units = "1",
            .formula = "||dW_q pinv(W_k)||_F, ||dW_k pinv(W_q)||_F, ||dW_v pinv(W_o^T)||_F, ||pinv(W_v^T) dW_o||_F",
            .source =
                "derived: dW_q = G W_k with G = dL/dQK, so the first is ||G P||, P the projector on W_k's columns",
            .invariance = "GL",
            .minimum = 0,
            .dimensions = {
                {"layer", setup.layers(), {}}, {"head", setup.heads(), {}}, {"projection", 4, {"q", "k", "v", "o"}}}};
    }

    ProbeStage stage() const override { return ProbeStage::gradients; }

    std::vector<double> measure(const ProbeContext& context) const override {
        return for_each_block(context.model, [&](const HeadBlock& block) {
            const Tensor& gradient = block.weight().grad();
            if (!gradient.defined()) return 0.0;
            const HeadBlock partner = head_block(context.model, block.layer, block.head, partner_of(block.projection));
            return pseudo_inverse_norm(inner_rows(gradient, block), inner_rows(partner.weight(), partner),
                                       epsilon_of(gradient.dtype()));
        });
    }
};

const RegisterProbe registered_grad_norm_circuit("grad_norm_circuit",
                                                 [] { return std::make_unique<GradNormCircuit>(); });

}  // namespace

}  // namespace headscope::experiments
