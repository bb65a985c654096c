// An attention and positions that code outside the project brings along.
#include "nn/per_head_attention.h"
#include "nn/transformer.h"
#include "tests/nn/random_tensors.h"

namespace headscope::nn {
namespace {

constexpr std::int64_t d_model = 7, num_heads = 3, head_dim = 4;

AttentionModuleOptions with_custom(AttentionFunction custom) {
    AttentionModuleOptions options;
    options.head_dim = head_dim;
    options.custom = std::move(custom);
    return options;
}

/// Every query sees its own place and the one before.
AttentionResult two_wide(const Tensor& q, const Tensor& k, const Tensor& v, AttentionOptions options) {
    const std::int64_t queries = q.size(1), keys = k.size(1);
    Tensor near = Tensor::zeros({1, 1, queries, keys}, DType::boolean);
    for (std::int64_t i = 0; i < std::min(queries, keys); ++i)
        for (std::int64_t j = std::max<std::int64_t>(0, i - 1); j <= i; ++j)
            near.data<std::uint8_t>()[i * keys + j] = 1;
    options.mask = options.mask & Mask::visible(near);
    return attention_unfused(q, k, v, options);
}

TEST(CustomAttention, TakesThePlaceOfTheBuiltIn) {
    const Tensor x = random_tensor({2, 5, d_model}, 1), probe = random_tensor({2, 5, d_model}, 2);
    MultiHeadAttention plain(d_model, num_heads, with_custom({})), same(d_model, num_heads, with_custom(attention)),
        narrow(d_model, num_heads, with_custom(two_wide));
    for (MultiHeadAttention* module : {&plain, &same, &narrow}) {
        randomise(*module, 10);
        backward(sum(module->forward(x, x, x, Mask::causal()).output * probe));
    }
    const auto expected = plain.forward(x, x, x, Mask::causal()), got = same.forward(x, x, x, Mask::causal());
    EXPECT_EQ(distance(got.output, expected.output), 0);
    EXPECT_EQ(distance(got.attention_weights, expected.attention_weights), 0);
    EXPECT_EQ(distance(same.W_q.weight.grad(), plain.W_q.weight.grad()), 0);

    const auto [output, weights] = narrow.forward(x, x, x, Mask::causal());
    EXPECT_GT(distance(output, expected.output), 1e-3);
    EXPECT_GT(distance(narrow.W_k.weight.grad(), plain.W_k.weight.grad()), 1e-3);
    ASSERT_EQ(weights.shape().str(), "[2, 3, 5, 5]");
    for (std::int64_t i = 0; i < 5; ++i)
        for (std::int64_t j = 0; j < 5; ++j) EXPECT_EQ(weights.at({1, 2, i, j}) > 0, j <= i && j + 1 >= i);
    EXPECT_FALSE(narrow.forward(x, x, x, Mask::causal(), false).attention_weights.defined());

    Tensor seen;
    const Guest look = narrow.weights.look([&](const Tensor& shown) { seen = shown; });
    narrow.forward(x, x, x, Mask::causal(), false);
    EXPECT_EQ(distance(seen, weights), 0);
}

TEST(CustomAttention, IsCalledHeadByHeadInTheTextbookForm) {
    MultiHeadAttention joined(d_model, num_heads, with_custom(two_wide));
    joined.to(DType::f64);
    randomise(joined, 10);
    const auto split = to_per_head(joined);
    const Tensor x = random_tensor({2, 5, d_model}, 1, DType::f64);
    const auto expected = joined.forward(x, x, x), got = split->forward(x, x, x);
    EXPECT_LT(distance(got.output, expected.output), 1e-13);
    EXPECT_LT(distance(got.attention_weights, expected.attention_weights), 1e-13);
}

TEST(CustomAttention, MustReturnWhatItPromised) {
    const Tensor x = random_tensor({2, 5, d_model}, 1);
    const auto message = [&](AttentionFunction custom, bool need_weights) {
        MultiHeadAttention module(d_model, num_heads, with_custom(std::move(custom)));
        return error_of([&] { module.forward(x, x, x, Mask::none(), need_weights); });
    };
    EXPECT_EQ(message(
                  [](auto q, auto, auto, auto) {
                      return AttentionResult{sum(q, {2}), {}};
                  },
                  false),
              "attend: a custom attention must return output of shape [2, 5, 12], not [2, 5]");
    EXPECT_EQ(message(
                  [](auto, auto, auto v, auto) {
                      return AttentionResult{v, {}};
                  },
                  true),
              "attend: a custom attention must return weights of shape [2, 3, 5, 5], and returned none");
    EXPECT_EQ(message([](auto, auto, auto v, auto) { return AttentionResult{v, {}}; }, false), "");
}

/// relu(q k^T / sqrt(d_k)) over the keys that may be seen: weights that do not sum to 1.
Tensor relu_weights(const Tensor& scores, const Tensor& visible) {
    const Tensor weights = relu(scores);
    return visible.defined() ? weights * visible.to(weights.dtype()) : weights;
}
/// The same as a whole attention, from the public parts.
AttentionResult relu_attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
    AttentionResult result;
    result.weights =
        relu_weights(attention_scores(q, k, options.num_heads), visible_keys(options.mask, q.size(1), k.size(1)));
    result.output = apply_weights(result.weights, v, options);
    return result;
}

TEST(CustomAttention, LearnsFromTheMaskWhichKeysAreVisible) {
    const Tensor x = random_tensor({2, 5, d_model}, 1), probe = random_tensor({2, 5, d_model}, 2);
    AttentionModuleOptions by_weights;
    by_weights.head_dim = head_dim;
    by_weights.weights = relu_weights;
    MultiHeadAttention whole(d_model, num_heads, with_custom(relu_attention)), parts(d_model, num_heads, by_weights);
    for (MultiHeadAttention* module : {&whole, &parts}) randomise(*module, 10);
    Tensor valid = Tensor::from({2, 5}, {1, 1, 1, 0, 0, 1, 1, 1, 1, 1}, DType::boolean);
    const std::vector<Mask> masks{Mask::none(), Mask::causal(), Mask::padding(valid),
                                  Mask::padding(valid) & Mask::causal(), Mask::window(2, 5, 5)};
    for (std::size_t m = 0; m < masks.size(); ++m) {
        const auto seen = [&](std::int64_t b, std::int64_t i, std::int64_t j) {
            if ((m == 2 || m == 3) && valid.at({b, j}) == 0) return false;
            if (m == 4 && j <= i - 2) return false;
            return m == 0 || m == 2 || j <= i;
        };
        whole.zero_grad();
        parts.zero_grad();
        const auto a = whole.forward(x, x, x, masks[m]), b = parts.forward(x, x, x, masks[m]);
        backward(sum(a.output * probe));
        backward(sum(b.output * probe));
        EXPECT_EQ(distance(a.attention_weights, b.attention_weights), 0) << m;
        EXPECT_EQ(distance(whole.W_q.weight.grad(), parts.W_q.weight.grad()), 0) << m;
        for (std::int64_t n = 0; n < 2; ++n)
            for (std::int64_t i = 0; i < 5; ++i)
                for (std::int64_t j = 0; j < 5; ++j) {
                    if (seen(n, i, j)) continue;
                    EXPECT_EQ(a.attention_weights.at({n, 1, i, j}), 0) << m;
                }
        EXPECT_GT(distance(a.attention_weights, Tensor::zeros({2, 3, 5, 5})), 1e-3);
    }
}

/// Multiplies every place by a number of its own.
class Scales : public PositionScheme {
public:
    explicit Scales(std::int64_t max_len) : scale_(register_parameter("scale", {max_len, 1}, ParameterRole::scale)) {
        scale_.fill_(1);
    }
    Tensor add_to(const Tensor& embedded) override { return embedded * slice(scale_, 0, 0, embedded.size(1)); }

private:
    Tensor scale_;
};

class Shortened : public PositionScheme {
public:
    Tensor add_to(const Tensor& embedded) override { return slice(embedded, 1, 1, embedded.size(1)); }
};

TransformerOptions with_position(CustomPosition custom) {
    TransformerOptions options;
    options.vocab_size = 11;
    options.max_len = 6;
    options.block.d_model = 10;
    options.block.num_heads = 2;
    options.block.d_ff = 9;
    options.position = PositionEncoding::custom;
    options.custom_position = std::move(custom);
    return options;
}

const CustomPosition scales{[](std::int64_t max_len, std::int64_t) { return std::make_unique<Scales>(max_len); }, 6};

TEST(CustomPosition, StandsAfterTheEmbeddingAndTrains) {
    const TransformerOptions options = with_position(scales);
    Transformer model(options);
    EXPECT_EQ(model.position, nullptr);
    EXPECT_EQ(model.named_parameters()[1].name, "position.scale");
    std::int64_t count = 0;
    for (const Parameter& parameter : model.named_parameters()) count += parameter.tensor.numel();
    EXPECT_EQ(ModelOutline(options, 2, 5).parameters, static_cast<double>(count));

    // Scales of 1 change nothing; others do, and get a gradient where there are tokens.
    TransformerOptions without = options;
    without.position = PositionEncoding::none;
    Transformer other(without);
    StateDict state = model.state_dict();
    state.erase("position.scale");
    other.load_state_dict(state);
    const Tensor tokens = random_tokens({3, 4}, 11, 1);
    EXPECT_EQ(distance(model.forward(tokens), other.forward(tokens)), 0);
    model.named_parameters()[1].tensor.copy_(random_tensor({6, 1}, 2));
    const Tensor logits = model.forward(tokens);
    EXPECT_GT(distance(logits, other.forward(tokens)), 1e-3);
    backward(cross_entropy(logits, random_tokens({3, 4}, 11, 3)));
    for (std::int64_t t = 0; t < 6; ++t)
        EXPECT_EQ(model.named_parameters()[1].tensor.grad().at({t, 0}) != 0, t < 4) << t;
}

TEST(CustomPosition, Errors) {
    const auto building = [](CustomPosition custom) {
        return error_of([&] { Transformer model(with_position(std::move(custom))); });
    };
    EXPECT_EQ(building({}), "Transformer: position is custom, but custom_position.build gives none");
    EXPECT_EQ(building({scales.build, 7}), "Transformer: custom_position.parameters is 7, but what it builds has 6");
    Transformer model(with_position({[](std::int64_t, std::int64_t) { return std::make_unique<Shortened>(); }, 0}));
    EXPECT_EQ(error_of([&] {
                  model.forward(random_tokens({3, 4}, 11, 1));
              }),
              "Transformer: custom positions must keep the shape; the embedding is [3, 4, 10], add_to() returned "
              "[3, 3, 10]");
}

}  // namespace
}  // namespace headscope::nn
