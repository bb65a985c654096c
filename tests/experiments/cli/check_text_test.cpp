#include "experiments/cli/check_text.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <optional>

#include "experiments/base/errors.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments {
namespace {

class CheckVerb : public testing::Test {
protected:
    void SetUp() override {
        std::ofstream(path_) << "name = \"walk\"\n[task]\ntype = \"lag_mixture\"\nseq_len = 20\nvocab_size = 13\n"
                                "near = 1\nfar = 12\n[model]\nd_model = 32\nnum_heads = 2\n[train]\nbatch_size = 6\n";
    }

    // What the verb prints; a refusal's message goes to *refusal.
    std::string printed(const std::vector<std::string>& overrides, std::string* refusal = nullptr,
                        const std::optional<std::string>& text = std::nullopt) const {
        testing::internal::CaptureStdout();
        try {
            cli::print_check(path_, overrides, text);
        } catch (const std::exception& error) {
            EXPECT_NE(dynamic_cast<const UsageError*>(&error), nullptr) << error.what();
            if (refusal != nullptr) *refusal = error.what();
            else ADD_FAILURE() << error.what();
        }
        return testing::internal::GetCapturedStdout();
    }

    const TemporaryFolder folder_;
    const std::string path_ = folder_.path("walk.toml");
};

TEST_F(CheckVerb, PrintsConfigWalkAndSizes) {
    const std::string text = printed({});
    for (const char* expected :
         {"name = \"walk\"\n", "max_len = 20\n", "# Shapes on the way through the model\n",
          "# B = 6, T = 20, d = 32, H = 2, d_k = 16, V = 13", "tokens                  (B, T)           (6, 20)\n",
          "  scores                (B, H, T, T)     (6, 2, 20, 20)            q k^T / sqrt(d_k)\n",
          "head                    (B, T, V)        (6, 20, 13)               the output layer: logits\n",
          "head (the output layer)         ", "total", "FLOPs per step", "optimizer state"}) {
        EXPECT_NE(text.find(expected), std::string::npos) << expected << "\n" << text;
    }
}

TEST_F(CheckVerb, WalksThroughWhatIsTooLargeToBuildAndRefusesIt) {
    std::string refusal;
    const std::string text =
        printed({"model.d_model=12288", "model.num_heads=96", "model.num_layers=96", "task.seq_len=2048"}, &refusal);
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

TEST_F(CheckVerb, ATextGoesThroughTheModelByCharacterAndByWord) {
    const std::string characters = printed({}, nullptr, "我是秦始皇");
    for (const char* expected :
         {"# The text as 5 tokens: characters, numbered in order of appearance\n",
          "tokens                  我 | 是 | 秦 | 始 | 皇\n", "ids                     0 | 1 | 2 | 3 | 4\n",
          "X                       [5, 32], the model's input, a row per token; as a batch of one (1, 5, 32)\n",
          "# B = 1, T = 5, d = 32, H = 2, d_k = 16, V = 13", "blocks.0.attn.W_q       (B, T, H*d_k)    (1, 5, 32)",
          "  split into heads      (B, H, T, d_k)   (1, 2, 5, 16)",
          "  scores                (B, H, T, T)     (1, 2, 5, 5)",
          "head                    (B, T, V)        (1, 5, 13)", "FLOPs per step"})
        EXPECT_NE(characters.find(expected), std::string::npos) << expected << "\n" << characters;
    EXPECT_EQ(characters.find("(6, 20"), std::string::npos) << "a walk of the training batch";

    const std::string words = printed({}, nullptr, " 我 是 秦始皇 我");
    for (const char* expected :
         {"# The text as 4 tokens: words, numbered in order of appearance\n",
          "tokens                  我 | 是 | 秦始皇 | 我\n", "ids                     0 | 1 | 2 | 0\n",
          "tokens                  (B, T)           (1, 4)\n", "# The text as 6 tokens: characters",
          "ids                     0 | 1 | 2 | 3 | 4 | 0\n", "(1, 6, 32)"})
        EXPECT_NE(words.find(expected), std::string::npos) << expected << "\n" << words;
}

TEST_F(CheckVerb, ATextIsCutByTheTaskWhereItHasText) {
    const std::string text = path_ + ".txt";
    std::ofstream file(text);
    for (int i = 0; i < 20; ++i) file << "我\n是\n秦始皇\n";
    file.close();
    std::ofstream(path_) << "name = \"text\"\n[task]\ntype = \"text\"\npath = \"" << text
                         << "\"\nseq_len = 6\ntokens = \"bpe\"\nbpe_vocab = 25\n[model]\nd_model = 32\n";
    const std::string pairs = printed({}, nullptr, "我是秦始皇");
    for (const char* expected :
         {"# The text as 3 tokens: the task's own tokens\n", "tokens                  我 | 是 | 秦始皇\n", "(1, 3, 32)",
          "# The text as 5 tokens: characters, numbered", "(1, 5, 32)"})
        EXPECT_NE(pairs.find(expected), std::string::npos) << expected << "\n" << pairs;

    EXPECT_NE(printed({}, nullptr, "我\n是").find("tokens                  我 | \\n | 是\n"), std::string::npos);

    const std::string characters = printed({"task.tokens=characters"}, nullptr, "我是秦始皇");
    EXPECT_NE(characters.find("# The text as 5 tokens: the task's own tokens\n"), std::string::npos) << characters;
    EXPECT_EQ(characters.find("numbered"), std::string::npos);
    std::string refusal;
    printed({}, &refusal, "我是汉武帝");
    EXPECT_NE(refusal.find("text: no token for 汉 武 帝; use characters that occur in " + text), std::string::npos)
        << refusal;
    std::filesystem::remove(text);
}

TEST_F(CheckVerb, ATextThatDoesNotFitIsRefused) {
    const auto refusal_of = [&](const std::string& text) {
        std::string refusal;
        printed({}, &refusal, text);
        return refusal;
    };
    EXPECT_NE(refusal_of(" \n").find("--text has no characters"), std::string::npos);
    EXPECT_NE(refusal_of("\xE7\xA7").find("--text: invalid UTF-8 at byte offset 0"), std::string::npos);
    EXPECT_NE(refusal_of("abcdefghijklmn").find("14 different characters and the task 13 tokens"), std::string::npos);
    EXPECT_NE(refusal_of("aaaaaaaaaaaaaaaaaaaaa").find("has 21 tokens and model.max_len = 20"), std::string::npos);
}

TEST_F(CheckVerb, RefusesAWrongConfig) {
    std::string refusal;
    EXPECT_EQ(printed({"task.fra=3"}, &refusal), "");
    EXPECT_NE(refusal.find("did you mean far?"), std::string::npos) << refusal;
}

}  // namespace
}  // namespace headscope::experiments
