// Nothing that a head computes depends on the basis that its queries and keys, or its values, are written in. With any
// invertible R per head, d_k x d_k,
//   W_q -> W_q R,  b_q -> b_q R,  W_k -> W_k R^-T,  b_k -> b_k R^-T
//   W_v -> W_v R,  b_v -> b_v R,  W_o -> R^-1 W_o
// leave the logits as they are. Here every registered metric is held to what it says of itself: "GL" must not change
// under such R, "orthogonal" must not change under orthogonal R but under others, "none" must change under both.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "tests/experiments/probes/probe_helpers.h"

namespace headscope::experiments {
namespace {

/// Metrics for which the rule above says too much, and why.
const std::map<std::string, std::string> none_but_keeps_under_rotations{
    {"update_ratio", "what changes it is Adam, whose steps do not turn with the basis; a given step keeps its length"},
};

/// A square matrix with its inverse, row by row.
struct Basis {
    std::vector<double> R, inverse;
};

/// R = U D V^T with random rotations U, V and D in [1/2, 2] (or 1): as well conditioned as one wants.
class Bases {
public:
    Bases(std::int64_t size, bool orthogonal) : size_(size), orthogonal_(orthogonal) {}

    Basis draw(const std::string& stream) const {
        const std::vector<double> U = rotation(stream + ".U"), V = rotation(stream + ".V");
        const RandomStream random(8, stream + ".D");
        Basis basis{std::vector<double>(U.size(), 0.0), std::vector<double>(U.size(), 0.0)};
        for (std::int64_t i = 0; i < size_; ++i)
            for (std::int64_t j = 0; j < size_; ++j)
                for (std::int64_t k = 0; k < size_; ++k) {
                    const double D = orthogonal_ ? 1 : std::exp2(2 * random.uniform(static_cast<std::uint64_t>(k)) - 1);
                    basis.R[at(i, j)] += U[at(i, k)] * D * V[at(j, k)];
                    basis.inverse[at(i, j)] += V[at(i, k)] / D * U[at(j, k)];
                }
        return basis;
    }

private:
    std::size_t at(std::int64_t row, std::int64_t col) const { return static_cast<std::size_t>(row * size_ + col); }

    /// Gram-Schmidt, twice, on random rows.
    std::vector<double> rotation(const std::string& stream) const {
        const RandomStream random(9, stream);
        std::vector<double> Q(static_cast<std::size_t>(size_ * size_));
        for (std::size_t i = 0; i < Q.size(); ++i) Q[i] = random.normal(i);
        for (int pass = 0; pass < 2; ++pass)
            for (std::int64_t i = 0; i < size_; ++i) {
                for (std::int64_t other = 0; other < i; ++other) {
                    double share = 0;
                    for (std::int64_t k = 0; k < size_; ++k) share += Q[at(i, k)] * Q[at(other, k)];
                    for (std::int64_t k = 0; k < size_; ++k) Q[at(i, k)] -= share * Q[at(other, k)];
                }
                double squares = 0;
                for (std::int64_t k = 0; k < size_; ++k) squares += Q[at(i, k)] * Q[at(i, k)];
                for (std::int64_t k = 0; k < size_; ++k) Q[at(i, k)] /= std::sqrt(squares);
            }
        return Q;
    }

    std::int64_t size_;
    bool orthogonal_;
};

/// x <- M^T x for a head's `size` numbers x[0], x[step], ... .
void turn(double* x, std::int64_t step, const std::vector<double>& M, std::int64_t size, bool transpose) {
    std::vector<double> turned(static_cast<std::size_t>(size), 0.0);
    for (std::int64_t i = 0; i < size; ++i)
        for (std::int64_t j = 0; j < size; ++j)
            turned[static_cast<std::size_t>(i)] +=
                M[static_cast<std::size_t>(transpose ? j * size + i : i * size + j)] * x[j * step];
    for (std::int64_t i = 0; i < size; ++i) x[i * step] = turned[static_cast<std::size_t>(i)];
}

/// Writes a head's share of a parameter of an attention in another basis: rows of W_q, W_k, W_v and their biases,
/// columns of W_o. `name` is "W_q.weight" and so on.
void change(Tensor parameter, const std::string& name, std::int64_t head, std::int64_t size, const Basis& qk,
            const Basis& ov) {
    if (name == "W_o.bias") return;
    const Basis& basis = name[2] == 'q' || name[2] == 'k' ? qk : ov;
    // As stored, the columns of W R are rows: R^T W. W_k gets R^-1, and so do the columns of W_o.
    const bool inverse = name[2] == 'k' || name[2] == 'o';
    const std::vector<double>& M = inverse ? basis.inverse : basis.R;
    double* const x = parameter.data<double>();
    const std::int64_t width = parameter.rank() == 2 ? parameter.size(1) : 1;
    if (name[2] == 'o') {
        for (std::int64_t d = 0; d < parameter.size(0); ++d) turn(x + d * width + head * size, 1, M, size, false);
        return;
    }
    for (std::int64_t d = 0; d < width; ++d) turn(x + head * size * width + d, width, M, size, !inverse);
}

/// Changes the bases of all heads, in the weights as well as in the weights before the update.
void change_bases(ProbeBench& bench, bool orthogonal) {
    const nn::MultiHeadAttention& attention = bench.model.blocks[0]->attn;
    const Bases bases(attention.head_dim(), orthogonal);
    const auto parameters = bench.model.named_parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        const std::string& name = parameters[i].name;
        const std::size_t end = name.find(".attn.");
        if (end == std::string::npos) continue;
        for (std::int64_t head = 0; head < attention.num_heads(); ++head) {
            const std::string stream = name.substr(0, end) + "." + std::to_string(head);
            const Basis qk = bases.draw(stream + ".qk"), ov = bases.draw(stream + ".ov");
            for (const Tensor& tensor : {parameters[i].tensor, bench.before[i]})
                change(tensor, name.substr(end + 6), head, attention.head_dim(), qk, ov);
        }
    }
    bench.compute_gradients();
}

/// Largest |a - b| as a share of the largest |a|; a number that is only there once counts as infinity.
double difference(const std::vector<double>& a, const std::vector<double>& b) {
    double largest = 0, size = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (std::isnan(a[i]) && std::isnan(b[i])) continue;
        if (std::isnan(a[i]) || std::isnan(b[i])) return std::numeric_limits<double>::infinity();
        largest = std::max(largest, std::abs(a[i] - b[i]));
        size = std::max(size, std::abs(a[i]));
    }
    return largest == 0 ? 0 : largest / size;
}

nn::TransformerOptions gauge_model() {
    nn::TransformerOptions options = small_model();
    options.block.d_ff = 9;
    return options;
}

class Gauge : public testing::TestWithParam<std::string> {};

TEST(GaugeOfTheModel, LeavesTheLogitsAlone) {
    for (const bool orthogonal : {true, false}) {
        ProbeBench bench(gauge_model());
        const Tensor before = bench.model.forward(bench.batch.inputs).clone();
        const Tensor weight = bench.model.blocks[1]->attn.W_k.weight.clone();
        change_bases(bench, orthogonal);
        const Tensor after = bench.model.forward(bench.batch.inputs);
        double moved = 0;
        for (std::int64_t i = 0; i < before.numel(); ++i)
            EXPECT_NEAR(after.data<double>()[i], before.data<double>()[i], 1e-12);
        for (std::int64_t i = 0; i < weight.numel(); ++i)
            moved = std::max(
                moved, std::abs(bench.model.blocks[1]->attn.W_k.weight.data<double>()[i] - weight.data<double>()[i]));
        EXPECT_GT(moved, 0.1);
    }
}

TEST_P(Gauge, IsWhatTheMetricSays) {
    constexpr double same = 1e-8, other = 1e-5;
    const std::string name = GetParam();
    ProbeBench bench(gauge_model()), turned(gauge_model()), stretched(gauge_model());
    change_bases(turned, true);
    change_bases(stretched, false);
    const std::string invariance = bench.spec(name).invariance;
    const std::vector<double> values = bench.measure(name);
    const double when_turned = difference(values, turned.measure(name));
    const double when_stretched = difference(values, stretched.measure(name));
    if (invariance == "GL") {
        EXPECT_LE(when_turned, same);
        EXPECT_LE(when_stretched, same);
    } else if (invariance == "orthogonal") {
        EXPECT_LE(when_turned, same);
        EXPECT_GT(when_stretched, other) << "it is \"GL\"";
    } else {
        EXPECT_EQ(invariance, "none");
        EXPECT_GT(when_stretched, other) << "it is \"GL\"";
        if (none_but_keeps_under_rotations.count(name) == 0) {
            EXPECT_GT(when_turned, other) << "it is \"orthogonal\"";
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Probes, Gauge, testing::ValuesIn(probe_names()), [](const auto& info) { return info.param; });

}  // namespace
}  // namespace headscope::experiments
