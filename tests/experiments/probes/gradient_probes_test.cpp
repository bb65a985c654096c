// grad_norm, grad_cosine and update_ratio against their formulas, written out plainly.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "optim/sgd.h"
#include "tests/experiments/probes/plain_blocks.h"

namespace headscope::experiments {
namespace {

using namespace plain;

std::vector<double> measure(const std::string& name, nn::Transformer& model) {
    const RandomTask task(7, 6);
    const std::vector<Batch> batches;
    return make_probe(name)->measure({.model = model, .step = 0, .seed = 5, .task = task, .eval_batches = batches});
}

/// Random gradients, as large as the parameters.
void fill_gradients(nn::Transformer& model, const std::string& stream = "") {
    for (nn::Parameter parameter : model.named_parameters()) {
        Tensor gradient = Tensor::zeros(parameter.tensor.shape(), parameter.tensor.dtype());
        fill_normal(gradient, stream + "gradient." + parameter.name);
        parameter.tensor.set_grad(gradient);
    }
}

TEST(GradNorm, IsTheNormOfEachHeadsBlock) {
    // 17 and 5: rows and blocks that are no multiple of anything.
    for (const auto& [d_model, head_dim] : {std::pair{10, 4}, {17, 5}, {64, 32}, {3, 40}}) {
        nn::Transformer model(small_model(d_model, head_dim));
        fill_gradients(model);
        const std::vector<double> norms = measure("grad_norm", model);
        ASSERT_EQ(norms.size(), 2u * 3u * 4u);
        for_each_block([&](std::size_t index, std::int64_t layer, std::int64_t head, int projection) {
            const double expected = norm(block(weight_of(model, layer, projection).grad(), projection, head));
            EXPECT_NEAR(norms[index], expected, 1e-12 * expected) << layer << " " << head << " " << projection;
        });
    }
}

TEST(GradNorm, IsZeroWithoutGradient) {
    nn::Transformer model(small_model());
    for (const double value : measure("grad_norm", model)) EXPECT_EQ(value, 0);
}

TEST(GradCosine, IsTheCosineOfTheBlocks) {
    for (const auto& [d_model, head_dim] : {std::pair{10, 4}, {17, 5}, {33, 16}}) {
        nn::Transformer model(small_model(d_model, head_dim));
        fill_gradients(model);
        const std::vector<double> cosines = measure("grad_cosine", model);
        ASSERT_EQ(cosines.size(), 2u * 4u * 3u * 3u);
        std::size_t index = 0;
        for (std::int64_t layer = 0; layer < layers; ++layer)
            for (int projection = 0; projection < 4; ++projection)
                for (std::int64_t i = 0; i < heads; ++i)
                    for (std::int64_t j = 0; j < heads; ++j, ++index) {
                        const Tensor& gradient = weight_of(model, layer, projection).grad();
                        const auto a = block(gradient, projection, i), b = block(gradient, projection, j);
                        EXPECT_NEAR(cosines[index], dot(a, b) / (norm(a) * norm(b)), 1e-13);
                        if (i == j) {
                            EXPECT_EQ(cosines[index], 1);
                        }
                    }
    }
}

TEST(GradCosine, OfEqualAndOppositeGradientsIsExact) {
    nn::Transformer model(small_model(17, 5));
    fill_gradients(model);
    for (int projection = 0; projection < 4; ++projection) {
        Tensor gradient = weight_of(model, 1, projection).grad();
        float* const values = gradient.data<float>();
        const std::int64_t rows = projection < 3 ? 5 : 17, cols = projection < 3 ? 17 : 5;
        const std::int64_t stride = projection < 3 ? 17 : 15, apart = projection < 3 ? 5 * 17 : 5;
        for (std::int64_t row = 0; row < rows; ++row)
            for (std::int64_t col = 0; col < cols; ++col) {
                const std::int64_t i = row * stride + col;
                values[i + apart] = values[i];
                values[i + 2 * apart] = -values[i];
            }
    }
    const std::vector<double> cosines = measure("grad_cosine", model);
    for (std::size_t projection = 4; projection < 8; ++projection) {
        EXPECT_EQ(cosines[projection * 9 + 1], 1);
        EXPECT_EQ(cosines[projection * 9 + 2], -1);
    }
}

TEST(GradCosine, OfNothingIsNotMeasured) {
    nn::Transformer model(small_model());
    for (const double value : measure("grad_cosine", model)) EXPECT_TRUE(std::isnan(value));
    fill_gradients(model);
    Tensor W_k = weight_of(model, 0, 1).grad();
    std::fill_n(W_k.data<float>() + 40, 40, 0.0f);  // head 1
    const std::vector<double> cosines = measure("grad_cosine", model);
    for (std::size_t i = 0; i < 3; ++i)
        for (std::size_t j = 0; j < 3; ++j)
            EXPECT_EQ(std::isnan(cosines[9 + i * 3 + j]), i == 1 || j == 1) << i << " " << j;
}

TEST(GradCosine, OfRandomGradientsFollowsItsNull) {
    nn::Transformer model(small_model());
    const MetricSpec spec = make_probe("grad_cosine")->spec({model.options(), 6, {}});
    double sum = 0, squares = 0, count = 0;
    for (int draw = 0; draw < 125; ++draw) {
        fill_gradients(model, std::to_string(draw));
        const std::vector<double> cosines = measure("grad_cosine", model);
        for (std::size_t matrix = 0; matrix < 8; ++matrix, ++count) {
            sum += cosines[matrix * 9 + 1];
            squares += cosines[matrix * 9 + 1] * cosines[matrix * 9 + 1];
        }
    }
    EXPECT_NEAR(sum / count, spec.null_mean, 4 * spec.null_std / std::sqrt(count));
    EXPECT_NEAR(std::sqrt(squares / count) / spec.null_std, 1, 4 / std::sqrt(2 * count));
}

TEST(UpdateRatio, IsTheShareThatTheUpdateChanged) {
    for (const DType dtype : {DType::f32, DType::f64}) {
        ProbeBench bench(small_model(17, 5), dtype);
        const std::vector<double> ratios = bench.measure("update_ratio");
        ASSERT_EQ(ratios.size(), 24u);
        for_each_block([&](std::size_t index, std::int64_t layer, std::int64_t head, int projection) {
            const Tensor weight = weight_of(bench.model, layer, projection);
            const auto after = block(weight, projection, head);
            const auto before = block(bench.context().before(weight), projection, head);
            std::vector<double> change;
            for (std::size_t i = 0; i < after.size(); ++i) change.push_back(after[i] - before[i]);
            EXPECT_NEAR(ratios[index], norm(change) / norm(before), 1e-13);
            EXPECT_GT(ratios[index], 1e-3);
        });
    }
}

TEST(UpdateRatio, OfZeroWeightsIsNotMeasured) {
    ProbeBench bench(small_model());
    Tensor(bench.context().before(weight_of(bench.model, 1, 2))).fill_(0);
    const std::vector<double> ratios = bench.measure("update_ratio");
    for_each_block([&](std::size_t index, std::int64_t layer, std::int64_t, int projection) {
        EXPECT_EQ(std::isnan(ratios[index]), layer == 1 && projection == 2);
    });
}

TEST(UpdateRatio, UnderPlainSgdIsTheGradientTimesTheLearningRate) {
    constexpr double lr = 0.03;
    ProbeBench bench(small_model());
    const std::vector<double> gradients = bench.measure("grad_norm");
    const auto parameters = bench.model.named_parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) bench.before[i].copy_(parameters[i].tensor);
    optim::Sgd({{parameters, lr, 0}}, {}).step();
    const std::vector<double> ratios = bench.measure("update_ratio");
    for_each_block([&](std::size_t index, std::int64_t layer, std::int64_t head, int projection) {
        const Tensor before = bench.context().before(weight_of(bench.model, layer, projection));
        const double size = norm(block(before, projection, head));
        EXPECT_NEAR(ratios[index] * size, lr * gradients[index], 1e-12 * size);
    });
}

}  // namespace
}  // namespace headscope::experiments
