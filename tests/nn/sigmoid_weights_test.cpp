#include "nn/sigmoid_weights.h"

#include <cmath>

#include "tests/nn/small_attention.h"

namespace headscope::nn {
namespace {

TEST(SigmoidWeights, AreTheFormula) {
    SmallAttention small({.alibi = true, .weights = sigmoid_weights});
    Tensor scores;
    const Guest look = small.attention.scores.look([&](const Tensor& seen) { scores = seen; });
    const auto [output, weights] = small.run(Mask::window(3, 5, 5));
    for (std::int64_t h = 0; h < 3; ++h)
        for (std::int64_t i = 0; i < 5; ++i)
            for (std::int64_t j = 0; j < 5; ++j) {
                const double n = static_cast<double>(std::min<std::int64_t>(i + 1, 3));
                const double slope = std::exp2(-8.0 * static_cast<double>(h + 1) / 3);
                const double s = scores.at({1, h, i, j}) - slope * static_cast<double>(std::abs(i - j));
                const double expected = i - 3 < j && j <= i ? 1 / (1 + std::exp(std::log(n) - s)) : 0;
                EXPECT_NEAR(weights.at({1, h, i, j}), expected, 1e-14);
            }
    for (const Mask& mask : {Mask::causal(), Mask::none(), Mask::window(2, 5, 5)})
        expect_gradients(small.attention, {small.x}, [&](const auto& in) {
            return small.attention.forward(in[0], in[0], in[0], mask, false).output;
        });
    // A query that sees no key has weights 0 and no gradient.
    const Tensor nothing = sigmoid_weights(scores, Tensor::zeros({1, 1, 5, 5}, DType::boolean));
    EXPECT_EQ(largest(nothing), 0);
}

}  // namespace
}  // namespace headscope::nn
