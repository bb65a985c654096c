// What must hold between weights, activations and their gradients, whatever the loss. W+ is a head's W, d_model x d_k,
// with its bias as one more row; xi_h a factor on the output of head h.
//   <W_q+, dW_q+> = <W_k+, dW_k+> = sum of S dL/dS
//   <W_v+, dW_v+> = <W_o, dW_o> = dL/dxi_h
//   softmax: rows of dL/dS sum to 0, and without rotary dL/db_k = 0
//   a step of SGD: W_q+^T W_q+ - W_k+^T W_k+ changes by eta^2 (dW_q+^T dW_q+ - dW_k+^T dW_k+); W_v+ and W_o likewise
#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <ostream>

#include "experiments/probes/capture.h"
#include "tests/experiments/probes/probe_helpers.h"

namespace headscope::experiments {
namespace {

constexpr std::int64_t d_model = 10, heads = 3, head_dim = 4;
using nn::Projection;

struct Case {
    const char* name;
    nn::PositionEncoding position;
    bool causal;
    nn::NormPlacement norm;
};

void PrintTo(const Case& value, std::ostream* out) { *out << value.name; }

/// Rows of d_k (or d_v) numbers: W+ of q, k or v, or W_o^T of o.
using Rows = std::vector<std::vector<double>>;

/// `of` picks the values or the gradient of a parameter.
template <class Of>
Rows rows_of(const nn::MultiHeadAttention& attention, Projection projection, std::int64_t head, Of&& of) {
    const nn::Linear& linear = linear_of(attention, projection);
    const Tensor weight = of(linear.weight);
    Rows rows;
    for (std::int64_t d = 0; d < d_model; ++d) {
        rows.emplace_back();
        for (std::int64_t k = head * head_dim; k < (head + 1) * head_dim; ++k)
            rows.back().push_back(projection == Projection::o ? weight.at({d, k}) : weight.at({k, d}));
    }
    if (projection == Projection::o) return rows;
    rows.emplace_back();
    for (std::int64_t k = head * head_dim; k < (head + 1) * head_dim; ++k)
        rows.back().push_back(of(linear.bias).at({k}));
    return rows;
}

Rows values(const nn::MultiHeadAttention& attention, Projection projection, std::int64_t head) {
    return rows_of(attention, projection, head, [](const Tensor& parameter) { return parameter; });
}

Rows gradients(const nn::MultiHeadAttention& attention, Projection projection, std::int64_t head) {
    return rows_of(attention, projection, head, [](const Tensor& parameter) { return parameter.grad(); });
}

double inner(const Rows& a, const Rows& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        for (std::size_t k = 0; k < a[i].size(); ++k) sum += a[i][k] * b[i][k];
    return sum;
}

/// A^T A
Rows gram(const Rows& a) {
    Rows result(a[0].size(), std::vector<double>(a[0].size(), 0.0));
    for (const auto& row : a)
        for (std::size_t i = 0; i < row.size(); ++i)
            for (std::size_t j = 0; j < row.size(); ++j) result[i][j] += row[i] * row[j];
    return result;
}

Rows difference(const Rows& a, const Rows& b) {
    Rows result = a;
    for (std::size_t i = 0; i < a.size(); ++i)
        for (std::size_t j = 0; j < a[i].size(); ++j) result[i][j] -= b[i][j];
    return result;
}

double largest(const Rows& a) {
    double most = 0;
    for (const auto& row : a)
        for (const double value : row) most = std::max(most, std::abs(value));
    return most;
}

/// Of head h in x, y [B, H, ., .].
double inner(const Tensor& x, const Tensor& y, std::int64_t head) {
    const std::int64_t size = x.size(2) * x.size(3);
    double sum = 0;
    for (std::int64_t b = 0; b < x.size(0); ++b)
        for (std::int64_t i = 0; i < size; ++i) {
            const std::int64_t at = (b * x.size(1) + head) * size + i;
            sum += x.data<double>()[at] * y.data<double>()[at];
        }
    return sum;
}

void expect_close(double a, double b) { EXPECT_LE(std::abs(a - b), 1e-10 * std::max(std::abs(a), std::abs(b))); }

class Identities : public testing::TestWithParam<Case> {
protected:
    Identities() : bench_(options()) {
        for (const auto& block : bench_.model.blocks) {
            gates_.push_back(std::make_unique<nn::HeadGates>(heads));
            gates_.back()->to(DType::f64);
            guests_.push_back(gates_.back()->attach(block->attn));
        }
        // The parameters' gradients of the loss that Capture differentiates: each sequence's own mean.
        bench_.model.zero_grad();
        for (const MicroBatch& sequence : split_batch(bench_.batch, 4))
            backward(cross_entropy(bench_.model.forward(sequence.inputs), sequence.targets));
        capture_.emplace(bench_.model, bench_.batch, SequenceSource::evaluation, true);
    }

    static nn::TransformerOptions options() {
        nn::TransformerOptions options = small_model(d_model, head_dim);
        options.position = GetParam().position;
        options.causal = GetParam().causal;
        options.block.norm = GetParam().norm;
        options.block.d_ff = 9;
        return options;
    }

    template <class Body>
    void for_each_head(Body&& body) {
        for (std::int64_t layer = 0; layer < 2; ++layer)
            for (std::int64_t head = 0; head < heads; ++head)
                body(bench_.model.blocks[static_cast<std::size_t>(layer)]->attn, layer, head);
    }

    /// SGD with a rate of 2, without momentum or decay.
    static constexpr double rate = 2;
    void step() {
        for (const nn::Parameter& parameter : bench_.model.named_parameters()) {
            Tensor weight = parameter.tensor;
            for (std::int64_t i = 0; i < weight.numel(); ++i)
                weight.data<double>()[i] -= rate * weight.grad().data<double>()[i];
        }
    }

    /// The change of A+^T A+ - B+^T B+ in a step is eta^2 times that of the gradients.
    void expect_conserved(Projection a, Projection b) {
        std::vector<Rows> before, expected;
        for_each_head([&](const nn::MultiHeadAttention& attention, std::int64_t, std::int64_t head) {
            before.push_back(difference(gram(values(attention, a, head)), gram(values(attention, b, head))));
            expected.push_back(difference(gram(gradients(attention, a, head)), gram(gradients(attention, b, head))));
            for (auto& row : expected.back())
                for (double& value : row) value *= rate * rate;
        });
        step();
        std::size_t at = 0;
        for_each_head([&](const nn::MultiHeadAttention& attention, std::int64_t layer, std::int64_t head) {
            const Rows after = difference(gram(values(attention, a, head)), gram(values(attention, b, head)));
            EXPECT_LE(largest(difference(difference(after, before[at]), expected[at])), 1e-10 * largest(expected[at]))
                << "layer " << layer << " head " << head;
            EXPECT_GT(largest(expected[at++]), 1e-8);
        });
    }

    bool rotary() const { return GetParam().position == nn::PositionEncoding::rotary; }

    std::vector<std::unique_ptr<nn::HeadGates>> gates_;
    std::vector<nn::Guest> guests_;
    ProbeBench bench_;
    std::optional<Capture> capture_;
};

TEST_P(Identities, QueriesAndKeysPullOnTheScoresAlike) {
    for_each_head([&](const nn::MultiHeadAttention& attention, std::int64_t layer, std::int64_t head) {
        const double q = inner(values(attention, Projection::q, head), gradients(attention, Projection::q, head));
        const double k = inner(values(attention, Projection::k, head), gradients(attention, Projection::k, head));
        const LayerCapture& captured = capture_->layer(layer);
        EXPECT_GT(std::abs(q), 1e-6);
        expect_close(q, k);
        expect_close(q, inner(captured.scores(), captured.grad_scores(), head));
        expect_close(q, inner(captured.q(), captured.grad_q(), head));
        expect_close(q, inner(captured.k(), captured.grad_k(), head));
    });
}

TEST_P(Identities, ValuesAndOutputsPullOnTheHeadAlike) {
    for_each_head([&](const nn::MultiHeadAttention& attention, std::int64_t layer, std::int64_t head) {
        const double v = inner(values(attention, Projection::v, head), gradients(attention, Projection::v, head));
        const LayerCapture& captured = capture_->layer(layer);
        EXPECT_GT(std::abs(v), 1e-6);
        expect_close(v, inner(values(attention, Projection::o, head), gradients(attention, Projection::o, head)));
        expect_close(v, gates_[static_cast<std::size_t>(layer)]->weight.grad().at({head}));
        expect_close(v, inner(captured.v(), captured.grad_v(), head));
        expect_close(v, inner(captured.weights(), captured.grad_weights(), head));
        expect_close(v, inner(captured.head_out(), captured.grad_head_out(), head));
        expect_close(v, inner(captured.head_result(), captured.grad_head_result(), head));
    });
}

TEST_P(Identities, ShiftingAllScoresOfAQueryChangesNothing) {
    for (std::int64_t layer = 0; layer < 2; ++layer) {
        const Tensor& gradient = capture_->layer(layer).grad_scores();
        const std::int64_t keys = gradient.size(3);
        for (std::int64_t row = 0; row < gradient.numel() / keys; ++row) {
            double sum = 0, size = 0;
            for (std::int64_t j = 0; j < keys; ++j) {
                sum += gradient.data<double>()[row * keys + j];
                size += std::abs(gradient.data<double>()[row * keys + j]);
            }
            EXPECT_LE(std::abs(sum), 1e-10 * size);
        }
        if (rotary()) continue;  // a turned bias is not the same at all keys
        const nn::MultiHeadAttention& attention = bench_.model.blocks[static_cast<std::size_t>(layer)]->attn;
        for (std::int64_t i = 0; i < heads * head_dim; ++i)
            EXPECT_LE(std::abs(attention.W_k.bias.grad().at({i})), 1e-10 * std::abs(attention.W_q.bias.grad().at({i})));
    }
}

TEST_P(Identities, AStepKeepsQueriesAndKeysInBalance) {
    if (rotary()) GTEST_SKIP() << "rotary positions stand between the two";
    expect_conserved(Projection::q, Projection::k);
}

TEST_P(Identities, AStepKeepsValuesAndOutputsInBalance) { expect_conserved(Projection::v, Projection::o); }

INSTANTIATE_TEST_SUITE_P(Models, Identities,
                         testing::Values(Case{"learned", nn::PositionEncoding::learned, true, nn::NormPlacement::pre},
                                         Case{"rotary", nn::PositionEncoding::rotary, true, nn::NormPlacement::pre},
                                         Case{"alibi", nn::PositionEncoding::alibi, false, nn::NormPlacement::post},
                                         Case{"none", nn::PositionEncoding::none, false, nn::NormPlacement::none}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace headscope::experiments
