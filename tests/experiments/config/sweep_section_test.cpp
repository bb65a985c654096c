#include "experiments/config/sweep_section.h"

#include <gtest/gtest.h>

#include "experiments/base/errors.h"
#include "experiments/config/config.h"

namespace headscope::experiments {
namespace {

using Values = std::vector<std::string>;

TEST(SweepValues, AreSplitWhereTheyEnd) {
    EXPECT_EQ(sweep_values("2,8"), (Values{"2", "8"}));
    EXPECT_EQ(sweep_values(" 2 , 8 "), (Values{"2", "8"}));
    EXPECT_EQ(sweep_values("[1, 2],[3]"), (Values{"[1, 2]", "[3]"}));
    EXPECT_EQ(sweep_values("{a = 1, b = [2, 3]},x"), (Values{"{a = 1, b = [2, 3]}", "x"}));
    EXPECT_EQ(sweep_values(R"("a,b",'c,d',"e\",f")"), (Values{R"("a,b")", "'c,d'", R"("e\",f")"}));
    EXPECT_EQ(sweep_values("adamw"), Values{"adamw"});
    EXPECT_THROW(sweep_values("1,,2"), UsageError);
    EXPECT_THROW(sweep_values("1,"), UsageError);
}

TEST(SweepValues, OfRanges) {
    EXPECT_EQ(sweep_values("0..4"), (Values{"0", "1", "2", "3", "4"}));
    EXPECT_EQ(sweep_values("-1..1"), (Values{"-1", "0", "1"}));
    EXPECT_EQ(sweep_values("0..100..40"), (Values{"0", "40", "80"}));
    EXPECT_EQ(sweep_values("1..2,8"), (Values{"1", "2", "8"}));
    EXPECT_EQ(sweep_values("9223372036854775806..9223372036854775807").size(), 2U);
    for (const char* wrong : {"4..0", "0..x", "0..4..0", "0..4..-1", "0..", "1..2.5", "0..100000"})
        EXPECT_THROW(sweep_values(wrong), UsageError) << wrong;
}

TEST(SweepValues, PathsAreNoRanges) {
    EXPECT_FALSE(is_sweep_of_values("../data/t.txt"));
    EXPECT_FALSE(is_sweep_of_values("a..b"));
    EXPECT_FALSE(is_sweep_of_values("3"));
    EXPECT_FALSE(is_sweep_of_values("[0, 1]"));
    EXPECT_TRUE(is_sweep_of_values("0..1"));
    EXPECT_TRUE(is_sweep_of_values("a,b"));
}

std::string text_with(const std::string& sweep) { return "name = \"x\"\n[task]\ntype = \"repeat\"\n[sweep]\n" + sweep; }

TEST(SweepSection, IsTakenOutOfAConfig) {
    const Config config = parse_config(text_with(R"(
seed = "0..2"
model.num_heads = [2, 4]
optimizer.lr = [1e-3, 0.5]
optimizer.type = ["adam", "sgd"]
model.init.clone_heads = [["q", "k"], []]
train.clip_norm = 1.0
task.path = ["a b.txt", "c,d.txt", "5"]
zip = true
)"),
                                       "c.toml");
    EXPECT_TRUE(config.sweep.zip);
    const std::vector<SweepAxis> expected{{"seed", {"0", "1", "2"}},
                                          {"model.num_heads", {"2", "4"}},
                                          {"model.init.clone_heads", {R"(["q", "k"])", "[]"}},
                                          {"optimizer.lr", {"0.001", "0.5"}},
                                          {"optimizer.type", {"adam", "sgd"}},
                                          {"train.clip_norm", {"1.0"}},
                                          {"task.path", {R"("a b.txt")", R"("c,d.txt")", R"("5")"}}};
    EXPECT_EQ(config.sweep.axes.size(), expected.size());
    for (const SweepAxis& axis : expected)
        EXPECT_NE(std::find(config.sweep.axes.begin(), config.sweep.axes.end(), axis), config.sweep.axes.end())
            << axis.key;
    EXPECT_EQ(config.seed, 0);
    EXPECT_EQ(config.resolved().find("sweep"), std::string::npos);
}

TEST(SweepSection, WhatIsWrongWithItIsTold) {
    const auto message_of = [](const std::string& sweep) {
        try {
            parse_config(text_with(sweep), "c.toml");
        } catch (const UsageError& error) {
            return std::string(error.what());
        }
        return std::string("nothing");
    };
    EXPECT_NE(message_of("zip = 3").find("c.toml:5:7: sweep.zip must be true or false"), std::string::npos);
    EXPECT_NE(message_of("seed = \"5..1\"").find("c.toml:5:8: 5..1: is no range"), std::string::npos);
    EXPECT_NE(message_of("model.num_heads = []").find("sweep.model.num_heads has no values"), std::string::npos);
}

}  // namespace
}  // namespace headscope::experiments
