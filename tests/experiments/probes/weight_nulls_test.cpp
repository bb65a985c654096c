// The probes of weights on random heads: a thousand draws against the mean and standard deviation that a metric states
// as its null; and on heads whose inner bases are as badly conditioned as they come.
#include <algorithm>
#include <cmath>
#include <memory>
#include <ostream>

#include "tests/experiments/probes/hand_built_heads.h"

namespace headscope::experiments {
namespace {

struct NullCase {
    std::string metric;
    std::int64_t layers, heads, d_model, head_dim;
    std::size_t first, stride;  // of independent values: one for each stride, from `first` on
};

void PrintTo(const NullCase& c, std::ostream* out) { *out << c.metric << " d " << c.d_model << " k " << c.head_dim; }

class Nulls : public testing::TestWithParam<NullCase> {};

TEST_P(Nulls, AreThoseOfRandomHeads) {
    const NullCase& c = GetParam();
    const nn::TransformerOptions options = shape(c.layers, c.heads, c.d_model, c.head_dim);
    const RandomTask task(7, 6);
    const std::vector<Batch> batches;
    const std::unique_ptr<Probe> probe = make_probe(c.metric);
    const MetricSpec spec = probe->spec({options, 6, {}});
    nn::Transformer model(options);
    model.to(DType::f64);
    std::vector<nn::Parameter> attention_weights;
    for (const nn::Parameter& parameter : model.named_parameters())
        if (parameter.name.find(".attn.W_") != std::string::npos && parameter.tensor.rank() == 2)
            attention_weights.push_back(parameter);
    std::vector<double> draws;
    for (int i = 0; draws.size() < 1000; ++i) {
        for (const nn::Parameter& parameter : attention_weights)
            fill_normal(parameter.tensor, std::to_string(i) + parameter.name);
        const std::vector<double> values =
            probe->measure({.model = model, .step = 0, .seed = 5, .task = task, .eval_batches = batches});
        for (std::size_t at = c.first; at < values.size() && draws.size() < 1000; at += c.stride)
            draws.push_back(values[at]);
    }
    double mean = 0, square = 0, fourth = 0;
    for (const double value : draws) mean += value / 1000;
    for (const double value : draws) {
        square += std::pow(value - mean, 2) / 1000;
        fourth += std::pow(value - mean, 4) / 1000;
    }
    // Standard errors of both estimates; a null that was measured states its own.
    const double std_error = std::sqrt(fourth - square * square) / (2 * std::sqrt(square * 1000));
    EXPECT_NEAR(mean, spec.null_mean, 4 * std::hypot(std::sqrt(square / 1000), spec.null_mean_error));
    EXPECT_NEAR(std::sqrt(square), spec.null_std, 4 * std::hypot(std_error, spec.null_std_error));
    EXPECT_LE(spec.null_mean_error, spec.null_std / 30);
    EXPECT_LE(spec.null_std_error, spec.null_std / 30);
}

INSTANTIATE_TEST_SUITE_P(
    Probes, Nulls,
    testing::Values(NullCase{"overlap", 2, 2, 10, 4, 1, 4}, NullCase{"overlap", 2, 2, 9, 1, 1, 4},
                    NullCase{"overlap_top", 2, 2, 12, 6, 1, 4}, NullCase{"overlap_top", 2, 2, 10, 3, 1, 4},
                    NullCase{"orthogonality", 2, 5, 10, 3, 0, 2}, NullCase{"gram_overlap", 2, 2, 10, 4, 1, 4},
                    NullCase{"gram_overlap", 2, 2, 4, 7, 1, 4}, NullCase{"gram_overlap", 2, 2, 5, 5, 1, 4},
                    NullCase{"gram_overlap", 2, 2, 192, 48, 1, 4}, NullCase{"gram_overlap", 2, 2, 9, 1, 1, 4},
                    NullCase{"weight_cosine", 2, 2, 10, 4, 1, 4}, NullCase{"circuit_cosine", 2, 2, 10, 4, 1, 4},
                    NullCase{"circuit_cosine", 2, 2, 9, 1, 1, 4}, NullCase{"circuit_cosine", 2, 2, 4, 7, 1, 4},
                    NullCase{"composition", 2, 1, 10, 4, 3, 100}, NullCase{"composition", 2, 1, 10, 4, 5, 100},
                    NullCase{"composition", 2, 1, 4, 7, 4, 100}, NullCase{"composition", 2, 1, 7, 5, 4, 100},
                    NullCase{"composition", 2, 1, 24, 8, 3, 100}, NullCase{"composition", 2, 1, 6, 1, 3, 100},
                    NullCase{"stable_rank", 2, 2, 10, 4, 0, 1}, NullCase{"stable_rank", 2, 2, 4, 7, 0, 1},
                    NullCase{"stable_rank", 2, 2, 40, 11, 0, 1}, NullCase{"effective_rank", 2, 2, 4, 7, 0, 1},
                    NullCase{"effective_rank", 2, 2, 10, 4, 0, 1}, NullCase{"effective_rank", 2, 2, 5, 5, 0, 1}));

TEST(Orthogonality, ScoresRandomHeadsByZeroAndOne) {
    double sum = 0, squares = 0;
    constexpr int models = 150;
    for (int i = 0; i < models; ++i) {
        ProbeBench bench(shape(1, 3, 10, 4), DType::f64, "z" + std::to_string(i));
        const std::vector<double> values = bench.measure("orthogonality");
        for (std::size_t p = 0; p < 4; ++p) {
            sum += values[p * 2 + 1];
            squares += values[p * 2 + 1] * values[p * 2 + 1];
        }
    }
    EXPECT_NEAR(sum / (4 * models), 0, 4 / std::sqrt(4.0 * models));
    EXPECT_NEAR(squares / (4 * models), 1, 0.3);
}

// --- other bases of heads, as badly conditioned as they come ---

class IllConditioned : public testing::TestWithParam<std::string> {};

TEST_P(IllConditioned, BasesChangeNothing) {
    const nn::TransformerOptions options = shape(2, 3, 12, 4);
    ProbeBench plain(options), changed(options);
    const std::vector<double> diagonal = {1, 1000, 10, 0.9}, inverse = {1, 0.001, 0.1, 1 / 0.9};
    for (std::size_t layer = 0; layer < 2; ++layer)
        for (std::int64_t head = 0; head < 3; ++head)
            for (const nn::Projection p : nn::projections) {
                const bool inverted = p == nn::Projection::k || p == nn::Projection::o;
                const std::string stream = std::to_string(layer) + std::to_string(head);
                const bool qk = p == nn::Projection::q || p == nn::Projection::k;
                set_block(changed, layer, head, p,
                          mixed(block_columns(plain, layer, head, p), inverted ? inverse : diagonal,
                                stream + (qk ? "qk" : "ov")));
            }
    const std::vector<double> before = plain.measure(GetParam()), after = changed.measure(GetParam());
    ASSERT_EQ(before.size(), after.size());
    for (std::size_t i = 0; i < before.size(); ++i) {
        EXPECT_EQ(std::isnan(before[i]), std::isnan(after[i]));
        if (std::isnan(before[i])) continue;
        EXPECT_NEAR(after[i], before[i], 1e-8 * std::max(1.0, std::abs(before[i]))) << i;
    }
}

TEST(OverlapTop, ChangesWithTheBasisUnlessAllDirectionsAreTaken) {
    const std::vector<double> stretch = {1, 3, 0.5, 2, 1, 4};
    for (const std::int64_t head_dim : {6, 4}) {
        const nn::TransformerOptions options = shape(1, 2, 14, head_dim);
        ProbeBench plain(options), turned(options), stretched(options);
        for (const nn::Projection p : nn::projections) {
            const Columns columns = block_columns(plain, 0, 1, p);
            set_block(turned, 0, 1, p, mixed(columns, std::vector<double>(columns.size(), 1.0), "turn"));
            set_block(stretched, 0, 1, p, mixed(columns, stretch, "stretch"));
        }
        EXPECT_EQ(plain.spec("overlap_top").invariance, head_dim == 6 ? "orthogonal" : "GL");
        const std::vector<double> values = plain.measure("overlap_top");
        for (std::size_t at = 1; at < values.size(); at += 4) {  // of heads 0 and 1
            EXPECT_NEAR(turned.measure("overlap_top")[at], values[at], 1e-12);
            const double change = std::abs(stretched.measure("overlap_top")[at] - values[at]);
            EXPECT_EQ(change > 1e-3, head_dim == 6) << change;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Probes, IllConditioned,
                         testing::Values("overlap", "orthogonality", "principal_angles", "circuit_cosine",
                                         "composition", "stable_rank", "effective_rank"));

}  // namespace
}  // namespace headscope::experiments
