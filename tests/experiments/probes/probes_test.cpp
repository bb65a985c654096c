// Each probe against its formula, written out plainly.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "experiments/base/errors.h"
#include "tests/experiments/probes/probe_helpers.h"

namespace headscope::experiments {
namespace {

using Columns = std::vector<std::vector<double>>;  // a matrix as a list of columns

std::vector<double> measure(const std::string& name, nn::Transformer& model) {
    const RandomTask task(7, 6);
    const std::vector<Batch> batches;
    return make_probe(name)->measure({.model = model, .step = 0, .seed = 5, .task = task, .eval_batches = batches});
}

const nn::Linear& linear_of(const nn::MultiHeadAttention& attention, std::size_t projection) {
    const nn::Linear* linears[] = {&attention.W_q, &attention.W_k, &attention.W_v, &attention.W_o};
    return *linears[projection];
}

/// Element (d, k) of a head's block seen as d_model x d_k.
double block_element(const Tensor& weight, std::size_t projection, std::int64_t head, std::int64_t d, std::int64_t k,
                     std::int64_t head_dim) {
    const std::int64_t inner = head * head_dim + k;
    return projection < 3 ? weight.at({inner, d}) : weight.at({d, inner});
}

Columns block_columns(const nn::Transformer& model, std::size_t layer, std::size_t projection, std::int64_t head) {
    const nn::MultiHeadAttention& attention = model.blocks[layer]->attn;
    const std::int64_t k = attention.head_dim();
    Columns columns;
    for (std::int64_t column = 0; column < k; ++column) {
        columns.emplace_back();
        for (std::int64_t d = 0; d < attention.d_model(); ++d)
            columns.back().push_back(
                block_element(linear_of(attention, projection).weight, projection, head, d, column, k));
    }
    return columns;
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
}

/// Gram-Schmidt, each vector cleaned twice; vectors that hardly stick out are dropped.
Columns orthonormal(const Columns& columns) {
    Columns basis;
    for (std::vector<double> column : columns) {
        const double before = std::sqrt(dot(column, column));
        for (int pass = 0; pass < 2; ++pass)
            for (const auto& other : basis) {
                const double share = dot(column, other);
                for (std::size_t i = 0; i < column.size(); ++i) column[i] -= share * other[i];
            }
        const double norm = std::sqrt(dot(column, column));
        if (norm <= 1e-12 * before || norm == 0) continue;
        for (double& value : column) value /= norm;
        basis.push_back(column);
    }
    return basis;
}

double subspace_overlap(const Columns& a, const Columns& b) {
    const double most = static_cast<double>(std::min(a.size(), a[0].size()));
    double sum = 0;
    for (const auto& u : orthonormal(a))
        for (const auto& v : orthonormal(b)) sum += dot(u, v) * dot(u, v);
    return sum / most;
}

void expect_overlaps(const nn::Transformer& model, const std::vector<double>& values, double tolerance) {
    std::size_t index = 0;
    for (std::size_t layer = 0; layer < 2; ++layer)
        for (std::size_t projection = 0; projection < 4; ++projection)
            for (std::int64_t i = 0; i < 3; ++i)
                for (std::int64_t j = 0; j < 3; ++j, ++index) {
                    const double expected = subspace_overlap(block_columns(model, layer, projection, i),
                                                             block_columns(model, layer, projection, j));
                    EXPECT_NEAR(values[index], expected, tolerance)
                        << "layer " << layer << " projection " << projection << " heads " << i << " " << j;
                }
}

TEST(Probes, AreListedByName) {
    const std::vector<std::string> names = probe_names();
    EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
    for (const char* name : {"attention_entropy", "grad_norm", "overlap"})
        EXPECT_EQ(std::count(names.begin(), names.end(), name), 1) << name;
    EXPECT_THROW(make_probe("grad_nrom"), UsageError);
    EXPECT_THROW(RegisterProbe("overlap", nullptr), Error);
}

TEST(Overlap, IsTheMeanSquaredCosineOfPrincipalAngles) {
    nn::Transformer model(small_model());
    fill_parameters(model, "weights.");
    const std::vector<double> values = measure("overlap", model);
    ASSERT_EQ(values.size(), 2u * 4u * 3u * 3u);
    expect_overlaps(model, values, 1e-9);
    for (const double value : values) {
        EXPECT_GE(value, 0);
        EXPECT_LE(value, 1 + 1e-12);
    }
}

TEST(Overlap, HandlesDependentColumns) {
    nn::Transformer model(small_model());
    fill_parameters(model, "weights.");
    for (const auto& block : model.blocks) {
        Tensor W_q = block->attn.W_q.weight;  // [12, 10]: head 1's rows 5 and 6 alike, row 7 nothing
        float* rows = W_q.data<float>();
        std::copy(rows + 50, rows + 60, rows + 60);
        std::fill(rows + 70, rows + 80, 0.0f);
    }
    const std::vector<double> values = measure("overlap", model);
    expect_overlaps(model, values, 1e-9);
    EXPECT_NEAR(values[1 * 3 + 1], 0.5, 1e-12);  // two of four dimensions
}

TEST(Overlap, HandlesNearlyDependentColumns) {
    nn::Transformer model(small_model());
    fill_parameters(model, "weights.");
    for (const auto& block : model.blocks) {
        float* rows = block->attn.W_k.weight.data<float>();  // head 2's rows 8 and 9 differ by 1e-5
        for (std::int64_t d = 0; d < 10; ++d) rows[90 + d] = rows[80 + d] + 1e-5f * rows[100 + d] * rows[10 + d];
    }
    expect_overlaps(model, measure("overlap", model), 1e-9);
}

TEST(Overlap, OfNothingIsZero) {
    nn::Transformer model(small_model());
    for (const nn::Parameter& parameter : model.named_parameters()) Tensor(parameter.tensor).fill_(0);
    for (const double value : measure("overlap", model)) EXPECT_EQ(value, 0);
}

TEST(Overlap, OfHeadsWiderThanTheModelIsOne) {
    nn::Transformer model(small_model(3, 5));
    fill_parameters(model, "weights.");
    for (const double value : measure("overlap", model)) EXPECT_NEAR(value, 1, 1e-12);
}

TEST(Overlap, IsOneForClonesAndIgnoresTheInnerBasis) {
    nn::Transformer model(small_model());
    fill_parameters(model, "weights.");
    const std::vector<double> before = measure("overlap", model);
    // Row 3 of head 0's W_v takes on twice row 1: another basis of the same span.
    float* rows = model.blocks[1]->attn.W_v.weight.data<float>();
    for (std::int64_t d = 0; d < 10; ++d) rows[30 + d] += 2 * rows[10 + d];
    const std::vector<double> after = measure("overlap", model);
    for (std::size_t i = 0; i < before.size(); ++i) EXPECT_NEAR(after[i], before[i], 1e-6);

    const nn::MultiHeadAttention& attention = model.blocks[0]->attn;
    head_slice(attention, 2, nn::Projection::o).assign(head_slice(attention, 0, nn::Projection::o).values());
    const std::vector<double> cloned = measure("overlap", model);
    EXPECT_NEAR(cloned[3 * 9 + 0 * 3 + 2], 1, 1e-12);
    EXPECT_NEAR(cloned[3 * 9 + 2 * 3 + 0], 1, 1e-12);
}

TEST(Overlap, OfRandomMatricesFollowsItsNull) {
    const nn::TransformerOptions options = small_model();
    const MetricSpec spec = make_probe("overlap")->spec({options, 6, {}});
    std::vector<double> draws;
    for (int draw = 0; draw < 350; ++draw) {
        nn::Transformer model(options);
        fill_parameters(model, "draw" + std::to_string(draw));
        const std::vector<double> values = measure("overlap", model);
        for (std::size_t matrix = 0; matrix < 8; ++matrix) draws.push_back(values[matrix * 9 + 1]);
    }
    double mean = 0, square = 0;
    for (const double value : draws) mean += value / static_cast<double>(draws.size());
    for (const double value : draws) square += (value - mean) * (value - mean) / static_cast<double>(draws.size());
    const double standard_error = spec.null_std / std::sqrt(static_cast<double>(draws.size()));
    EXPECT_NEAR(mean, spec.null_mean, 4 * standard_error);
    EXPECT_NEAR(std::sqrt(square) / spec.null_std, 1, 0.08);
}

TEST(AttentionEntropy, IsTheMeanOverSequencesAndPositions) {
    ProbeBench bench(small_model());
    std::vector<double> expected(6, 0.0);
    double rows = 0;
    for (const Batch& batch : bench.eval_batches) {  // of different sizes
        const std::vector<Tensor> weights = weights_on(bench.model, batch);
        const std::int64_t B = batch.inputs.size(0), T = batch.inputs.size(1);
        rows += static_cast<double>(B * T);
        for (std::size_t layer = 0; layer < 2; ++layer)
            for (std::int64_t b = 0; b < B; ++b)
                for (std::int64_t h = 0; h < 3; ++h)
                    for (std::int64_t t = 0; t < T; ++t)
                        for (std::int64_t j = 0; j <= t; ++j) {
                            const double p = weights[layer].at({b, h, t, j});
                            expected[layer * 3 + static_cast<std::size_t>(h)] -= p * std::log(p);
                        }
    }
    const std::vector<double> entropies = bench.measure("attention_entropy");
    ASSERT_EQ(entropies.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(entropies[i], expected[i] / rows, 1e-12);
}

}  // namespace
}  // namespace headscope::experiments
