#include "experiments/config/config_history.h"

#include <gtest/gtest.h>

#include "tests/experiments/tasks/toy_task.h"

namespace headscope::experiments {
namespace {

const std::string file = minimal + "[train]\nsteps = 60\n[eval]\nevery = 20\n[log.probes]\noverlap = 5\n";

Config with(const std::vector<std::string>& overrides) { return parse_config(file, "run.toml", overrides); }

/// "0:60/20 30:120/20": step, train.steps and eval.every of every part.
std::string text_of(const ConfigHistory& history) {
    std::string text;
    for (const ConfigFrom& part : history)
        text += (text.empty() ? "" : " ") + std::to_string(part.step) + ":" + std::to_string(part.config.train.steps) +
                "/" + std::to_string(part.config.eval.every);
    return text;
}

TEST(ConfigHistory, GrowsByWhatIsChanged) {
    const ConfigHistory start{{0, with({})}};
    EXPECT_EQ(text_of(continued(start, 30, with({}))), "0:60/20");
    const ConfigHistory more = continued(start, 60, with({"train.steps=120"}));
    EXPECT_EQ(text_of(more), "0:60/20 60:120/20");
    EXPECT_EQ(text_of(continued(more, 80, with({"train.steps=120"}))), "0:60/20 60:120/20");
    EXPECT_EQ(text_of(continued(more, 80, with({"train.steps=120", "eval.every=3"}))), "0:60/20 60:120/20 80:120/3");
    EXPECT_EQ(text_of(continued(start, 0, with({"train.steps=120"}))), "0:120/20");
    EXPECT_EQ(text_of(continued(more, 60, with({"train.steps=90"}))), "0:60/20 60:90/20");
    EXPECT_EQ(text_of(continued(more, 80, with({"train.steps=60"}))), "0:60/20 60:120/20 80:60/20");
}

// A run whose newer checkpoints are lost begins again before a change: what it did then it does again.
TEST(ConfigHistory, WhatLiesAheadStaysPlanned) {
    const ConfigHistory history = continued({{0, with({})}}, 60, with({"train.steps=120"}));
    EXPECT_EQ(text_of(continued(history, 40, with({"train.steps=120"}))), "0:60/20 60:120/20");
    EXPECT_EQ(text_of(continued(history, 40, with({"train.steps=120", "eval.every=3"}))), "0:60/20 40:60/3 60:120/3");
    EXPECT_EQ(text_of(continued(history, 40, with({"train.steps=200"}))), "0:60/20 40:200/20");
}

TEST(ConfigHistory, OverridesHoldFromTheirStepOn) {
    const ConfigHistory history = continued({{0, with({})}}, 60, with({"train.steps=120"}));
    EXPECT_EQ(text_of(overridden(history, 0, {})), "0:60/20 60:120/20");
    EXPECT_EQ(text_of(overridden(history, 0, {"train.steps=9"})), "0:9/20");
    EXPECT_EQ(text_of(overridden(history, 30, {"eval.every=1"})), "0:60/20 30:60/1 60:120/1");
    EXPECT_EQ(text_of(overridden(history, 90, {"eval.every=1"})), "0:60/20 60:120/20 90:120/1");
    const ConfigHistory others = overridden(history, 30, {"optimizer.type=sgd", "train.steps=9"});
    EXPECT_EQ(text_of(others), "0:60/20 30:9/20");
    EXPECT_EQ(others.back().config.optimizer.type, "sgd");
}

TEST(ConfigHistory, ReadsBackTheSame) {
    const Config now = with({"train.steps=120", "eval.batches=3", "log.probes.overlap=", "log.probes.grad_norm=7",
                             "checkpoint.best=true", "eval.patience=4"});
    const ConfigHistory history = continued({{0, with({})}}, 60, now);
    const std::string text = write_config_history(history);
    const ConfigHistory again = read_config_history(text, "log.h5:/config/history", now);
    ASSERT_EQ(again.size(), 2u);
    EXPECT_EQ(again[0].step, 0);
    EXPECT_EQ(again[1].step, 60);
    EXPECT_EQ(again[0].config.resolved(), with({}).resolved());
    EXPECT_EQ(again[1].config.resolved(), now.resolved());
    EXPECT_EQ(write_config_history(again), text);
    EXPECT_EQ(write_config_history({{0, now}}), "");
    EXPECT_EQ(write_config_history({}), "");
    // A key that a part does not list, such as one of a later version, has its default.
    EXPECT_EQ(text_of(read_config_history("[[from]]\nstep = 3\nset = [\"train.steps=9\"]\n", "x", now)), "3:9/200");
}

TEST(ConfigHistory, DamageIsNamed) {
    for (const char* text :
         {"", "from = 3", "[[from]]\nstep = 1", "[[from]]\nset = []", "[[from]]\nstep = 1.5\nset = []",
          "[[from]]\nstep = 1\nset = []\n[[from]]\nstep = 1\nset = []", "from = []"})
        EXPECT_THROW(read_config_history(text, "log.h5:/config/history", with({})), IoError) << text;
    for (const char* text : {"[[from", "[[from]]\nstep = 1\nset = [\"optimizer.lr=3\"]",
                             "[[from]]\nstep = 1\nset = [\"train.steps=x\"]", "[[from]]\nstep = 1\nset = [3]"})
        EXPECT_THROW(read_config_history(text, "log.h5:/config/history", with({})), UsageError) << text;
}

TEST(ConfigHistory, ChangesInWords) {
    EXPECT_EQ(describe_resume_changes(with({}), with({})), "");
    EXPECT_EQ(describe_resume_changes(with({}), with({"train.steps=120", "log.probes.overlap=", "eval.every=1"})),
              "eval.every = 1 (was 20), log.probes.overlap = not set (was 5), train.steps = 120 (was 60)");
}

TEST(ConfigHistory, AnExperimentKnowsWhatHeldWhen) {
    Experiment experiment;
    experiment.config = with({"train.steps=120"});
    EXPECT_EQ(experiment.config_at(7).train.steps, 120);
    experiment.history = continued({{5, with({})}}, 60, experiment.config);
    for (const auto& [step, steps] : std::map<int, int>{{0, 60}, {5, 60}, {59, 60}, {60, 120}, {1000, 120}})
        EXPECT_EQ(experiment.config_at(step).train.steps, steps) << step;
}

}  // namespace
}  // namespace headscope::experiments
