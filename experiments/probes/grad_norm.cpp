// grad_norm: how hard the step's gradient pulls on each head's share of each projection.
//
//   grad_norm[l, h, p] = ||dL/dW_p^h||_F      p in q, k, v, o
//
// Shape [L, H, 4], units 1, range [0, inf). The gradient is the step's own, before clipping; weights only, no biases.
// Invariance: orthogonal. A rotation R of a head's inner basis turns the gradient by R, which keeps the norm; a general
// change W_q R, W_k R^-T does not keep it.
#include <array>
#include <cmath>

#include "experiments/probes/probe.h"

namespace headscope {

namespace {

// Eight sums side by side, so that the additions need not wait for each other; their order follows from the block's
// shape alone, so equal blocks give equal norms wherever they lie.
template <class T>
double sum_of_squares(const T* block, std::int64_t rows, std::int64_t cols, std::int64_t stride) {
    constexpr std::int64_t lanes = 8;
    std::array<double, lanes> sums{};
    for (std::int64_t row = 0; row < rows; ++row) {
        const T* values = block + row * stride;
        std::int64_t col = 0;
        for (; col + lanes <= cols; col += lanes)
            for (std::int64_t lane = 0; lane < lanes; ++lane) {
                const double value = static_cast<double>(values[col + lane]);
                sums[static_cast<std::size_t>(lane)] += value * value;
            }
        for (; col < cols; ++col) {
            const double value = static_cast<double>(values[col]);
            sums[0] += value * value;
        }
    }
    double total = 0;
    for (const double sum : sums) total += sum;
    return total;
}

double gradient_norm(const nn::HeadSlice& slice) {
    const Tensor& gradient = slice.weight.grad();
    if (!gradient.defined()) return 0;  // the loss does not depend on this weight
    const std::int64_t stride = gradient.size(1);
    const double squares = dispatch_float(gradient.dtype(), "grad_norm", [&](auto scalar) {
        using T = decltype(scalar);
        const T* block = gradient.data<T>() + slice.row * stride + slice.col;
        return sum_of_squares(block, slice.rows, slice.cols, stride);
    });
    return std::sqrt(squares);
}

class GradNorm : public Probe {
public:
    MetricSpec spec(const ProbeSetup& setup) const override {
        return {
            .name = "grad_norm",
            .long_name = "norm of the loss gradient of a head's weights",
            .units = "1",
            .formula = "||dL/dW_p^h||_F, before clipping, weights without biases",
            .source = "definition",
            .invariance = "orthogonal",
            .minimum = 0,
            .dimensions = {
                {"layer", setup.layers(), {}}, {"head", setup.heads(), {}}, {"projection", 4, {"q", "k", "v", "o"}}}};
    }

    Moment moment() const override { return Moment::gradients; }

    std::vector<double> measure(const ProbeContext& context) const override {
        std::vector<double> norms;
        for (const auto& block : context.model.blocks)
            for (std::int64_t head = 0; head < block->attn.num_heads(); ++head)
                for (const nn::Projection projection : nn::projections)
                    norms.push_back(gradient_norm(head_slice(block->attn, head, projection)));
        return norms;
    }
};

const RegisterProbe registered("grad_norm", [] { return std::make_unique<GradNorm>(); });

}  // namespace

}  // namespace headscope
