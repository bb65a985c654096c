// importance against the loss itself: gates on the heads, opened and closed a little.
#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "tests/experiments/probes/probe_helpers.h"

namespace headscope::experiments {
namespace {

/// The mean loss of each sequence of a batch, alone.
std::vector<double> losses(nn::Transformer& model, const Batch& batch) {
    const NoGrad no_grad;
    const std::int64_t T = batch.inputs.size(1);
    std::vector<double> result;
    for (std::int64_t b = 0; b < batch.inputs.size(0); ++b) {
        const auto row = [&](const Tensor& tokens) {
            return Tensor::from<std::int64_t>(
                {1, T},
                tokens.values<std::int64_t>().subspan(static_cast<std::size_t>(b * T), static_cast<std::size_t>(T)));
        };
        result.push_back(cross_entropy(model.forward(row(batch.inputs)), row(batch.targets)).item());
    }
    return result;
}

/// (1/B) sum_b |dL_b/d(gate)| by central differences.
double by_differences(ProbeBench& bench, Tensor gates, std::int64_t head) {
    constexpr double step = 1e-5;
    double sum = 0, count = 0;
    for (const Batch& batch : bench.eval_batches) {
        gates.data<double>()[head] = 1 + step;
        const std::vector<double> more = losses(bench.model, batch);
        gates.data<double>()[head] = 1 - step;
        const std::vector<double> less = losses(bench.model, batch);
        gates.data<double>()[head] = 1;
        for (std::size_t b = 0; b < more.size(); ++b) sum += std::abs(more[b] - less[b]) / (2 * step);
        count += static_cast<double>(more.size());
    }
    return sum / count;
}

void expect_differences(const nn::TransformerOptions& options) {
    ProbeBench bench(options);
    std::fill_n(bench.eval_batches[1].targets.data<std::int64_t>() + 6, 6, -1);  // a sequence without a target
    const std::vector<double> importances = bench.measure("importance");
    ASSERT_EQ(importances.size(), 6u);
    bench.model.eval();
    std::vector<std::unique_ptr<nn::HeadGates>> gates;
    std::vector<nn::Guest> guests;
    for (const auto& block : bench.model.blocks) {
        gates.push_back(std::make_unique<nn::HeadGates>(3));
        gates.back()->to(DType::f64);
        guests.push_back(gates.back()->attach(block->attn));
    }
    std::size_t index = 0;
    for (const auto& layer : gates)
        for (std::int64_t head = 0; head < 3; ++head, ++index) {
            EXPECT_NEAR(importances[index], by_differences(bench, layer->weight, head), 1e-8);
            EXPECT_GT(importances[index], 1e-3);
        }
}

TEST(Importance, IsTheGradientOfAGatePerExample) { expect_differences(small_model()); }

TEST(Importance, IsTheGradientOfAGateInEveryKindOfModel) {
    nn::TransformerOptions options = small_model(9, 6);
    options.block.d_ff = 11;
    options.block.dropout = 0.4;  // in evaluation mode all the same
    options.position = nn::PositionEncoding::rotary;
    expect_differences(options);
    options = small_model(10, 3);
    options.block.attention = AttentionKind::linear;
    options.block.norm = nn::NormPlacement::post;
    options.causal = false;
    expect_differences(options);
}

TEST(Importance, WithoutAnyScoredTargetIsNotMeasured) {
    ProbeBench bench(small_model());
    for (const Batch& batch : bench.eval_batches)
        Tensor(batch.targets).copy_(Tensor::full(batch.targets.shape(), -1, DType::i64));
    for (const double importance : bench.measure("importance")) EXPECT_TRUE(std::isnan(importance));
}

TEST(Importance, OfASilentHeadIsZero) {
    ProbeBench bench(small_model());
    const nn::HeadSlice block = head_slice(bench.model.blocks[0]->attn, 1, nn::Projection::v);
    block.assign(Tensor::zeros({block.rows, block.cols}, DType::f64));
    double* const bias = bench.model.blocks[0]->attn.W_v.bias.data<double>();
    std::fill_n(bias + 4, 4, 0.0);
    const std::vector<double> importances = bench.measure("importance");
    for (std::size_t i = 0; i < importances.size(); ++i) EXPECT_EQ(importances[i] == 0, i == 1);
}

}  // namespace
}  // namespace headscope::experiments
