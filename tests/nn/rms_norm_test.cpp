#include "nn/rms_norm.h"

#include "nn/init.h"
#include "nn/transformer.h"
#include "tests/nn/random_tensors.h"

namespace headscope::nn {
namespace {

TEST(RMSNorm, IsItsFormula) {
    for (const DType dtype : {DType::f32, DType::f64}) {
        RMSNorm norm(7, 0.1);
        norm.to(dtype);
        norm.weight.copy_(random_tensor({7}, 1, dtype));
        const Tensor x = random_tensor({2, 3, 7}, 2, dtype), y = norm.forward(x);
        ASSERT_EQ(y.shape().str(), "[2, 3, 7]");
        for (std::int64_t b = 0; b < 2; ++b)
            for (std::int64_t t = 0; t < 3; ++t) {
                double squares = 0;
                for (std::int64_t c = 0; c < 7; ++c) squares += x.at({b, t, c}) * x.at({b, t, c});
                for (std::int64_t c = 0; c < 7; ++c)
                    EXPECT_NEAR(y.at({b, t, c}), x.at({b, t, c}) / std::sqrt(squares / 7 + 0.1) * norm.weight.at({c}),
                                dtype == DType::f64 ? 1e-14 : 1e-6);
            }
    }
}

TEST(RMSNorm, StartsAtOne) {
    RMSNorm norm(5);
    ASSERT_EQ(norm.named_parameters().size(), 1U);
    EXPECT_EQ(norm.named_parameters()[0].name, "weight");
    for (const float value : norm.weight.values<float>()) EXPECT_EQ(value, 1);
    norm.weight.fill_(3);
    initialize(norm);
    for (const float value : norm.weight.values<float>()) EXPECT_EQ(value, 1);
    EXPECT_HAS(error_of([] { RMSNorm none(0); }), "RMSNorm: the width must be at least 1, not 0");
}

TEST(RMSNorm, IsChosenByAFactory) {
    TransformerOptions options{.vocab_size = 5, .max_len = 6, .num_layers = 2, .block = {.d_model = 6, .num_heads = 2}};
    options.block.make_norm = [](std::int64_t width) { return std::make_unique<RMSNorm>(width); };
    const Transformer model(options);
    EXPECT_NE(dynamic_cast<RMSNorm*>(model.norm.get()), nullptr);
    EXPECT_NE(dynamic_cast<RMSNorm*>(model.blocks[1]->norm2.get()), nullptr);
    for (const Parameter& parameter : model.named_parameters())
        EXPECT_EQ(parameter.role == ParameterRole::scale, parameter.name.find("norm") != std::string::npos);
}

}  // namespace
}  // namespace headscope::nn
