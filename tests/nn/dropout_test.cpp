#include "nn/dropout.h"

#include "nn/transformer.h"
#include "tests/nn/random_tensors.h"

namespace headscope::nn {
namespace {

TEST(Dropout, ActsInTrainingOnly) {
    Dropout dropout(0.25, "here");
    const Tensor x = Tensor::full({40, 50}, 3);
    RandomScope scope(1, 2);
    const Tensor y = dropout.forward(x);
    int kept = 0;
    for (const float value : y.values<float>()) {
        EXPECT_TRUE(value == 0 || value == 4) << value;  // 3 / (1 - 0.25)
        kept += value != 0;
    }
    EXPECT_NEAR(kept, 1500, 100);
    EXPECT_TRUE(same_bits(dropout.forward(x), y));
    dropout.eval();
    EXPECT_TRUE(same_bits(dropout.forward(x), x));
}

TEST(Dropout, EachNameAndStepHasNumbersOfItsOwn) {
    const Dropout one(0.5, "one"), two(0.5, "two");
    const Tensor x = Tensor::full({100}, 1);
    RandomScope scope(1, 2);
    EXPECT_FALSE(same_bits(one.forward(x), two.forward(x)));
    const Tensor now = one.forward(x);
    RandomScope next(1, 3);
    EXPECT_FALSE(same_bits(one.forward(x), now));
}

TEST(Dropout, Errors) {
    EXPECT_HAS(error_of([] { Dropout(1, "a"); }), "[0, 1)");
    EXPECT_HAS(error_of([] { Dropout(-0.1, "a"); }), "[0, 1)");
    EXPECT_HAS(error_of([] { Dropout(std::nan(""), "a"); }), "[0, 1)");
    EXPECT_NE(error_of([] { Dropout(0.5, "a").forward(Tensor::full({3}, 1)); }), "");  // no RandomScope
}

TransformerOptions small(double dropout) {
    TransformerOptions options;
    options.vocab_size = 7;
    options.max_len = 5;
    options.num_layers = 2;
    options.block.d_model = 6;
    options.block.num_heads = 2;
    options.block.d_ff = 9;
    options.block.dropout = dropout;
    return options;
}

TEST(Dropout, OfATransformer) {
    Transformer with(small(0.3)), without(small(0));
    const Tensor tokens = random_tokens({2, 5}, 7, 1);
    const Tensor plain = without.forward(tokens);
    {
        RandomScope scope(1, 0);
        const Tensor dropped = with.forward(tokens);
        EXPECT_FALSE(same_bits(dropped, plain));
        EXPECT_TRUE(same_bits(with.forward(tokens), dropped));
        RandomScope next(1, 1);
        EXPECT_FALSE(same_bits(with.forward(tokens), dropped));
    }
    with.eval();
    EXPECT_TRUE(same_bits(with.forward(tokens), plain));
}

// Each place that drops has a stream of its own: embedding sum, weights, both branches. Switching one of them to
// evaluation mode must change the outcome.
TEST(Dropout, EveryPlaceOfATransformerDrops) {
    Transformer model(small(0.3));
    const Tensor tokens = random_tokens({2, 5}, 7, 1);
    RandomScope scope(1, 0);
    const Tensor all = model.forward(tokens);
    int places = 0;
    for (const auto& [name, module] : model.named_modules()) {
        const bool drops =
            dynamic_cast<Dropout*>(module) != nullptr || dynamic_cast<MultiHeadAttention*>(module) != nullptr;
        if (!drops) continue;
        module->eval();
        EXPECT_FALSE(same_bits(model.forward(tokens), all)) << name;
        module->train();
        ++places;
    }
    EXPECT_EQ(places, 1 + 2 * 3);
}

TEST(Dropout, RecordedWeightsAreThoseBefore) {
    AttentionModuleOptions options;
    options.dropout = 0.5;
    MultiHeadAttention attention(6, 2, options);
    const Tensor x = random_tensor({2, 5, 6}, 1);
    RandomScope scope(1, 0);
    const auto trained = attention.forward(x, x, x);
    attention.eval();
    const auto evaluated = attention.forward(x, x, x);
    EXPECT_TRUE(same_bits(trained.attention_weights, evaluated.attention_weights));
    EXPECT_FALSE(same_bits(trained.output, evaluated.output));
}

}  // namespace
}  // namespace headscope::nn
