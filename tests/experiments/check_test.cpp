#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "experiments/cli/verbs.h"
#include "experiments/config/dimension_walk.h"
#include "experiments/errors.h"

namespace headscope {
namespace {

nn::TransformerOptions small_options() {
    nn::TransformerOptions options;
    options.vocab_size = 11;
    options.max_len = 9;
    options.num_layers = 3;
    options.block.d_model = 12;
    options.block.num_heads = 3;
    options.block.head_dim = 5;
    options.block.d_ff = 17;
    return options;
}

std::vector<nn::TransformerOptions> variants() {
    std::vector<nn::TransformerOptions> all(6, small_options());
    all[1].block.norm = nn::NormPlacement::post;
    all[2].block.norm = nn::NormPlacement::none;
    all[2].position = nn::PositionEncoding::sinusoidal;
    all[3].block.d_ff = 0;
    all[3].tie_embeddings = true;
    all[4].block.bias = false;
    all[4].position = nn::PositionEncoding::none;
    all[5].block.attention_bias = false;
    all[5].num_layers = 1;
    return all;
}

std::string sizes_of(const std::vector<WalkStep>& walk, const std::string& name) {
    for (const WalkStep& step : walk) {
        if (step.name == name) return Shape(std::span(step.sizes)).str();
    }
    return "missing";
}

TEST(DimensionWalk, MeasuredIsComputed) {
    for (const nn::TransformerOptions& options : variants()) {
        nn::Transformer model(options);
        const auto measured = dimension_walk(options, measure_shapes(model, 1, 7), 2);
        const auto computed = dimension_walk(options, compute_shapes(options, 2, 7), 2);
        ASSERT_EQ(measured.size(), computed.size());
        for (std::size_t i = 0; i < measured.size(); ++i)
            EXPECT_EQ(measured[i].sizes, computed[i].sizes) << measured[i].name;
        EXPECT_EQ(measured.back().sizes, (std::vector<std::int64_t>{2, 7, 11}));
    }
}

TEST(DimensionWalk, FollowsTheTokensToTheLogits) {
    const nn::TransformerOptions options = small_options();
    nn::Transformer model(options);
    const auto walk = dimension_walk(options, measure_shapes(model, 2, 7), 2);
    EXPECT_EQ(sizes_of(walk, "tokens"), "[2, 7]");
    EXPECT_EQ(sizes_of(walk, "embedding"), "[2, 7, 12]");
    EXPECT_EQ(sizes_of(walk, "blocks.0.attn.W_q"), "[2, 7, 15]");
    EXPECT_EQ(sizes_of(walk, "  split into heads"), "[2, 3, 7, 5]");
    EXPECT_EQ(sizes_of(walk, "  scores"), "[2, 3, 7, 7]");
    EXPECT_EQ(sizes_of(walk, "blocks.0.attn.W_o"), "[2, 7, 12]");
    EXPECT_EQ(sizes_of(walk, "blocks.0.ffn.linear1"), "[2, 7, 17]");
    EXPECT_EQ(sizes_of(walk, "blocks.1 ... blocks.2"), "[2, 7, 12]");
    EXPECT_EQ(sizes_of(walk, "head"), "[2, 7, 11]");
}

TEST(DimensionWalk, PartsAddUpToTheParametersOfTheModel) {
    for (const nn::TransformerOptions& options : variants()) {
        double sum = 0;
        for (const ParameterGroupCount& part : count_by_part(options)) sum += part.count;
        nn::Transformer model(options);
        std::int64_t built = 0;
        for (const NamedTensor& parameter : model.named_parameters()) built += parameter.tensor.numel();
        EXPECT_EQ(sum, static_cast<double>(built));
    }
}

TEST(DimensionWalk, FlopsOfAShapeDoneByHand) {
    // 16 tokens of vocabulary, 64 wide, 2 heads of 32, one layer, attention only; 32 sequences of 48.
    nn::TransformerOptions options;
    options.vocab_size = 16;
    options.num_layers = 1;
    options.block = {.d_model = 64, .num_heads = 2, .head_dim = 32, .d_ff = 0};
    const double tokens = 32 * 48;
    EXPECT_EQ(flops_per_step(options, 32, 48), 6 * tokens * (4 * 64 * 64 + 16 * 64) + 12 * tokens * 48 * 64);
}

class CheckVerb : public testing::Test {
protected:
    void SetUp() override {
        path_ = (std::filesystem::temp_directory_path() / "headscope_check_test.toml").string();
        std::ofstream(path_) << "name = \"walk\"\n[task]\ntype = \"lag_mixture\"\nseq_len = 20\nvocab_size = 13\n"
                                "near = 1\nfar = 12\n[model]\nd_model = 32\nnum_heads = 2\n[train]\nbatch_size = 6\n";
    }
    void TearDown() override { std::filesystem::remove(path_); }

    // What the verb prints; a refusal's message goes to *refusal.
    std::string printed(const std::vector<std::string>& overrides, std::string* refusal = nullptr) const {
        testing::internal::CaptureStdout();
        try {
            cli::check(path_, overrides);
        } catch (const std::exception& error) {
            EXPECT_NE(dynamic_cast<const UsageError*>(&error), nullptr) << error.what();
            if (refusal != nullptr) *refusal = error.what();
            else ADD_FAILURE() << error.what();
        }
        return testing::internal::GetCapturedStdout();
    }

    std::string path_;
};

TEST_F(CheckVerb, PrintsConfigWalkAndSizes) {
    const std::string text = printed({});
    for (const char* expected :
         {"name = \"walk\"\n", "max_len = 20\n", "(from a forward pass)",
          "# B = 6, T = 20, d = 32, H = 2, d_k = 16, V = 13", "tokens                  (B, T)           (6, 20)\n",
          "  scores                (B, H, T, T)     (6, 2, 20, 20)            q k^T / sqrt(d_k)\n",
          "head                    (B, T, V)        (6, 20, 13)               logits\n", "total", "FLOPs per step",
          "optimizer state"}) {
        EXPECT_NE(text.find(expected), std::string::npos) << expected << "\n" << text;
    }
}

TEST_F(CheckVerb, WorksOutWhatIsTooLargeToBuildAndRefusesIt) {
    std::string refusal;
    const std::string text =
        printed({"model.d_model=12288", "model.num_heads=96", "model.num_layers=96", "task.seq_len=2048"}, &refusal);
    EXPECT_NE(text.find("worked out"), std::string::npos);
    EXPECT_NE(text.find("(6, 96, 2048, 2048)"), std::string::npos) << text;
    EXPECT_NE(text.find("173,987,020,800"), std::string::npos) << text;
    EXPECT_NE(refusal.find("a training step needs about"), std::string::npos) << refusal;
}

TEST_F(CheckVerb, SurvivesTheLargestSizesThereAre) {
    std::string refusal;
    printed({"model.d_model=1000000000", "model.num_heads=1000000000", "model.head_dim=1000000000",
             "model.num_layers=1000000", "train.batch_size=1000000000"},
            &refusal);
    EXPECT_NE(refusal.find("a training step needs about"), std::string::npos) << refusal;
}

TEST_F(CheckVerb, RefusesAWrongConfig) {
    std::string refusal;
    EXPECT_EQ(printed({"task.fra=3"}, &refusal), "");
    EXPECT_NE(refusal.find("did you mean far?"), std::string::npos) << refusal;
}

}  // namespace
}  // namespace headscope
