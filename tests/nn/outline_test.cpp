// What a model says of itself without being built: held against models that are built and run.
#include <algorithm>
#include <map>

#include "nn/init.h"
#include "nn/rms_norm.h"
#include "nn/sigmoid_weights.h"
#include "nn/swiglu.h"
#include "nn/transformer.h"
#include "tests/nn/random_tensors.h"

namespace headscope::nn {
namespace {

TransformerOptions small_options() {
    TransformerOptions options;
    options.vocab_size = 11;
    options.max_len = 9;
    options.num_layers = 3;
    options.block.d_model = 12;
    options.block.num_heads = 3;
    options.block.head_dim = 5;
    options.block.d_ff = 17;
    return options;
}

std::vector<TransformerOptions> variants() {
    std::vector<TransformerOptions> all(12, small_options());
    all[1].block.norm = NormPlacement::post;
    all[2].block.norm = NormPlacement::none;
    all[2].position = PositionEncoding::sinusoidal;
    all[3].block.d_ff = 0;
    all[3].tie_embeddings = true;
    all[4].block.bias = false;
    all[4].position = PositionEncoding::none;
    all[5].block.attention_bias = false;
    all[5].num_layers = 1;
    all[6].block.head_dim = 6;
    all[6].position = PositionEncoding::rotary;
    all[6].block.attention = AttentionKind::linear;
    all[7].position = PositionEncoding::alibi;
    all[8].block.kv_heads = 2;
    all[8].block.qk_norm = true;
    all[9].block.make_norm = [](std::int64_t width) { return std::make_unique<RMSNorm>(width); };
    all[9].block.make_ffn = [](const FeedForwardOptions& own) { return std::make_unique<SwiGlu>(own); };
    all[10].num_layers = 0;
    all[11].block.attention_weights = sigmoid_weights;
    all[11].window = 4;
    return all;
}

std::string sizes_of(const ModelOutline& outline, const std::string& name) {
    for (const Outline::Step& step : outline.steps)
        if (step.name == name) return Shape(std::span(step.sizes)).str();
    return "missing";
}

std::string note_of(const TransformerOptions& options, const std::string& name) {
    for (const Outline::Step& step : ModelOutline(options, 2, 7).steps)
        if (step.name == name) return step.note;
    return "missing";
}

TEST(ModelOutline, PartsAddUpToTheParametersOfTheBuiltModel) {
    for (const TransformerOptions& options : variants()) {
        double sum = 0;
        const ModelOutline outline(options, 2, 7);
        for (const ModelOutline::Part& part : outline.parts) sum += part.parameters;
        const Transformer model(options);
        std::int64_t built = 0;
        for (const Parameter& parameter : model.named_parameters()) built += parameter.tensor.numel();
        EXPECT_EQ(sum, static_cast<double>(built));
        EXPECT_EQ(outline.parameters, sum);
    }
    std::vector<std::string> names;
    for (const ModelOutline::Part& part : ModelOutline(small_options(), 2, 7).parts) names.push_back(part.name);
    EXPECT_EQ(names, (std::vector<std::string>{"embedding", "position", "3 x block: attn", "3 x block: ffn",
                                               "3 x block: norm1, norm2", "norm", "head (the output layer)"}));
}

/// Each step against the shape that a look at the same place of a forward pass is shown.
TEST(ModelOutline, ShapesAreThoseOfAForwardPass) {
    const std::map<std::string, std::string> places{{"embedding", "embedded"},
                                                    {"  scores", "blocks.0.attn.weights"},
                                                    {"  weights", "blocks.0.attn.weights"},
                                                    {"  join heads", "blocks.0.attn.heads"},
                                                    {"blocks.0.attn.W_q", "blocks.0.attn.q"},
                                                    {"blocks.0.attn.W_o", "blocks.0.attn.output"},
                                                    {"  + residual", "blocks.0.middle"},
                                                    {"blocks.0.ffn.linear1", "blocks.0.ffn.hidden"},
                                                    {"blocks.0.ffn.linear2", "blocks.0.ffn.output"},
                                                    {"blocks.0.ffn.gate", "blocks.0.ffn.hidden"},
                                                    {"blocks.0.ffn.down", "blocks.0.ffn.output"},
                                                    {"norm", "blocks.0.output"},
                                                    {"head", "logits"},
                                                    {"embedding^T", "logits"}};
    for (const TransformerOptions& options : variants()) {
        Transformer model(options);
        std::map<std::string, std::string> seen;
        std::vector<Guest> guests;
        for (const auto& [name, point] : model.named_points())
            if (!name.ends_with(".scores"))
                guests.push_back(point->look([&, name = name](const Tensor& x) { seen[name] = x.shape().str(); }));
        model.forward(random_tokens({2, 7}, 11, 1));
        int compared = 0;
        for (const Outline::Step& step : ModelOutline(options, 2, 7).steps) {
            const auto place = places.find(step.name);
            if (place == places.end() || seen.count(place->second) == 0) continue;
            EXPECT_EQ(Shape(std::span(step.sizes)).str(), seen.at(place->second)) << step.name;
            ++compared;
        }
        EXPECT_GE(compared, options.num_layers == 0 ? 2 : 6);
    }
}

TEST(ModelOutline, FollowsTheTokensToTheLogits) {
    const ModelOutline outline(small_options(), 2, 7);
    EXPECT_EQ(sizes_of(outline, "tokens"), "[2, 7]");
    EXPECT_EQ(sizes_of(outline, "embedding"), "[2, 7, 12]");
    EXPECT_EQ(sizes_of(outline, "blocks.0.attn.W_q"), "[2, 7, 15]");
    EXPECT_EQ(sizes_of(outline, "  split into heads"), "[2, 3, 7, 5]");
    EXPECT_EQ(sizes_of(outline, "  scores"), "[2, 3, 7, 7]");
    EXPECT_EQ(sizes_of(outline, "blocks.0.attn.W_o"), "[2, 7, 12]");
    EXPECT_EQ(sizes_of(outline, "blocks.0.ffn.linear1"), "[2, 7, 17]");
    EXPECT_EQ(sizes_of(outline, "blocks.1 ... blocks.2"), "[2, 7, 12]");
    EXPECT_EQ(sizes_of(outline, "head"), "[2, 7, 11]");
    TransformerOptions groups = small_options();
    groups.block.kv_heads = 2;
    EXPECT_EQ(sizes_of(ModelOutline(groups, 2, 7), "blocks.0.attn.W_k"), "[2, 7, 10]");
}

TEST(ModelOutline, SaysHowWeightsComeAbout) {
    TransformerOptions options = small_options();
    EXPECT_EQ(note_of(options, "  scores"), "q k^T / sqrt(d_k)");
    EXPECT_EQ(note_of(options, "  weights"), "softmax over the past");
    EXPECT_EQ(note_of(options, "  rotate"), "missing");
    options.window = 3;
    EXPECT_EQ(note_of(options, "  weights"), "softmax over the last 3");
    options.window = 0;
    options.position = PositionEncoding::alibi;
    EXPECT_EQ(note_of(options, "  scores"), "q k^T / sqrt(d_k) - slope |i - j|");
    EXPECT_EQ(note_of(options, "+ position"), "missing");
    options.position = PositionEncoding::rotary;
    options.block.head_dim = 4;
    EXPECT_NE(note_of(options, "  rotate"), "missing");
    options.block.attention = AttentionKind::linear;
    EXPECT_EQ(note_of(options, "  weights"), "scores / their sum over the past");
    options.causal = false;
    options.block.attention = AttentionKind::uniform;
    EXPECT_EQ(note_of(options, "  weights"), "all equal");
}

TEST(ModelOutline, FlopsOfAShapeDoneByHand) {
    // 16 tokens of vocabulary, 64 wide, 2 heads of 32, one layer, attention only; 32 sequences of 48.
    TransformerOptions options;
    options.vocab_size = 16;
    options.max_len = 48;
    options.num_layers = 1;
    options.block = {.d_model = 64, .num_heads = 2, .head_dim = 32, .d_ff = 0};
    const double tokens = 32 * 48;
    EXPECT_EQ(ModelOutline(options, 32, 48).flops, 6 * tokens * (4 * 64 * 64 + 16 * 64) + 12 * tokens * 48 * 64);
    options.num_layers = 5;
    options.block.d_ff = 96;
    options.block.kv_heads = 1;
    const double weights = 5 * (2 * 64 * 64 + 2 * 32 * 64 + 2 * 96 * 64) + 16 * 64;
    EXPECT_EQ(ModelOutline(options, 32, 48).flops, 6 * tokens * weights + 5 * 12 * tokens * 48 * 64);
}

TEST(ModelOutline, OfAModelOfAnySize) {
    TransformerOptions options = small_options();
    options.num_layers = 1'000'000;
    options.block.d_model = 1'000'000;
    options.block.num_heads = 1'000;
    options.block.head_dim = 1'000;
    options.block.d_ff = 4'000'000;
    const ModelOutline outline(options, 1'000'000'000, 1'000'000'000);
    EXPECT_NEAR(outline.parameters, 12e18, 1e14);
    EXPECT_GT(outline.flops, 1e36);
}

TEST(WithoutStorage, ParametersHaveShapesAndNothingElse) {
    const WithoutStorage without_storage;
    Linear linear(1'000'000'000, 1'000'000'000);
    EXPECT_EQ(linear.weight.shape().str(), "[1000000000, 1000000000]");
    EXPECT_FALSE(linear.weight.has_storage());
    linear.to(DType::f64);
    EXPECT_EQ(linear.weight.dtype(), DType::f64);
    EXPECT_HAS(error_of([&] { linear.weight.data<double>(); }), "has no storage");
    EXPECT_HAS(error_of([&] { linear.weight.bytes(); }), "has no storage");
}

}  // namespace
}  // namespace headscope::nn
