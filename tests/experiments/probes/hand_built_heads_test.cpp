// Heads wired by hand score exactly what they must, and get their names.
#include <gtest/gtest.h>

#include <cmath>

#include "experiments/config/config.h"
#include "experiments/probes/probe.h"
#include "experiments/probes/roles.h"
#include "experiments/training/evaluation.h"
#include "tests/experiments/probes/hand_built.h"

namespace headscope::experiments {
namespace {

constexpr double exact = 1e-12;

class HandBuiltHeads : public testing::Test {
protected:
    HandBuiltHeads()
        : task(build_experiment_of_any_size(
                   parse_config("name = \"x\"\n[task]\ntype = \"induction\"\nvocab_size = 20\nseq_len = 24\n"
                                "min_period = 3\nmax_period = 6\nmax_start = 2\nscore = \"repeat\"\n",
                                "x.toml"))
                   .task),
          batches{task->eval_batch(0, 7), task->eval_batch(1, 4)} {}

    std::vector<double> measure(const std::string& name) {
        return make_probe(name)->measure(
            {.model = built.model, .step = 0, .seed = 3, .task = *task, .eval_batches = batches});
    }

    HandBuilt built;
    std::unique_ptr<Task> task;
    std::vector<Batch> batches;
};

enum Head { previous, uniform, sinking, far_back, induction, duplicate, self, back_by_one };

TEST_F(HandBuiltHeads, SolveTheInductionTaskUntrained) {
    const Evaluation result = evaluate(built.model, *task, batches);
    EXPECT_LT(result.loss, 1e-9);
    EXPECT_EQ(result.accuracy, 1);
    // Without the previous-token head there is nothing to find.
    built.model.blocks[0]->attn.W_v.weight.fill_(0);
    EXPECT_GT(evaluate(built.model, *task, batches).loss, 1);
}

TEST_F(HandBuiltHeads, ScoreAsTheyAreWired) {
    const std::vector<double> previous_token = measure("previous_token"), duplicate_token = measure("duplicate_token"),
                              induction_score = measure("induction"), prefix = measure("prefix_matching");
    ASSERT_EQ(previous_token.size(), 8u);
    EXPECT_NEAR(previous_token[previous], 1, exact);
    EXPECT_NEAR(previous_token[back_by_one], 1, exact);
    EXPECT_NEAR(duplicate_token[duplicate], 1, exact);
    EXPECT_NEAR(induction_score[induction], 1, exact);
    EXPECT_NEAR(prefix[induction], 1, exact);
    for (const int head : {previous, sinking, far_back, duplicate, self, back_by_one})
        EXPECT_LT(induction_score[static_cast<std::size_t>(head)], 0.1) << head;
    for (const int head : {previous, sinking, far_back, induction, self, back_by_one})
        EXPECT_LT(duplicate_token[static_cast<std::size_t>(head)], 0.1) << head;
    for (const int head : {sinking, duplicate, self}) EXPECT_LT(prefix[static_cast<std::size_t>(head)], 0.1) << head;

    const std::vector<double> sink = measure("sink"), confidence = measure("confidence"),
                              distance = measure("attention_distance");
    EXPECT_NEAR(sink[sinking], 1, exact);
    EXPECT_NEAR(sink[previous], 2.0 / 24, exact);  // queries 0 and 1
    EXPECT_NEAR(distance[sinking], 23.0 / 2, exact);
    EXPECT_NEAR(distance[previous], 23.0 / 24, exact);
    EXPECT_NEAR(distance[far_back], (7 * 17 + 21 / 2.0) / 24, exact);  // the first 7 see no such key: uniform
    EXPECT_NEAR(distance[self], 0, exact);
    for (const int head : {previous, sinking, self, back_by_one})
        EXPECT_NEAR(confidence[static_cast<std::size_t>(head)], 1, exact) << head;
}

TEST_F(HandBuiltHeads, UniformHeadHasTheValuesOfUniformWeights) {
    double entropy = 0, harmonic = 0;
    for (int n = 1; n <= 24; ++n) {
        entropy += std::log(n) / 24;
        harmonic += 1.0 / n / 24;
    }
    EXPECT_NEAR(measure("attention_entropy")[uniform], entropy, exact);
    EXPECT_NEAR(measure("attention_entropy_normalized")[uniform], 1, exact);
    EXPECT_NEAR(measure("attention_distance")[uniform], 23.0 / 4, exact);
    EXPECT_NEAR(measure("confidence")[uniform], harmonic, exact);
    EXPECT_NEAR(measure("sink")[uniform], harmonic, exact);
    double induction_mean = 0;
    for (int q = 12; q < 24; ++q) induction_mean += 1.0 / (q + 1) / 12;
    EXPECT_NEAR(measure("induction")[uniform], induction_mean, exact);
    EXPECT_NEAR(measure("duplicate_token")[uniform], induction_mean, exact);
    EXPECT_NEAR(measure("attention_entropy")[previous], 0, exact);
    EXPECT_NEAR(measure("attention_entropy_normalized")[previous], 0, exact);
}

TEST_F(HandBuiltHeads, LagProfileIsOverTheQueriesThatHaveTheLag) {
    const std::vector<double> profile = measure("lag_profile");
    ASSERT_EQ(profile.size(), 8u * 24u);
    for (std::size_t lag = 0; lag < 24; ++lag) {
        double uniform_mean = 0, early = 0;  // early: the queries that see no key 7 back
        for (std::size_t q = lag; q < 24; ++q) {
            const double share = 1 / static_cast<double>(q + 1) / static_cast<double>(24 - lag);
            uniform_mean += share;
            if (q < 7) early += share;
        }
        EXPECT_NEAR(profile[uniform * 24 + lag], uniform_mean, exact) << lag;
        EXPECT_NEAR(profile[far_back * 24 + lag], lag == 7 ? 1 : early, exact) << lag;
        EXPECT_NEAR(profile[self * 24 + lag], lag == 0 ? 1 : 0, exact) << lag;
    }
}

TEST_F(HandBuiltHeads, CopyingIsOneForCopyingAndMinusOneForItsOpposite) {
    const std::vector<double> copying = measure("copying");
    EXPECT_NEAR(copying[induction], 1, exact);
    EXPECT_NEAR(copying[duplicate], -1, exact);
    EXPECT_TRUE(std::isnan(copying[uniform]));  // writes nothing
}

TEST_F(HandBuiltHeads, OutputNormIsThatOfWhatIsMoved) {
    const std::vector<double> norms = measure("output_norm");
    EXPECT_NEAR(norms[previous], 1, exact);  // one-hot
    EXPECT_EQ(norms[uniform], 0);
    const std::vector<double> cka = measure("output_cka");  // [2, 4, 4]
    EXPECT_NEAR(cka[0], 1, exact);
    EXPECT_TRUE(std::isnan(cka[1]));
    EXPECT_LT(cka[16 + 1], 1);  // layer 1, heads 0 and 1
}

TEST_F(HandBuiltHeads, AreNamedRight) {
    const std::vector<double> codes = measure("role");
    std::vector<std::string> names;
    for (const double code : codes) names.push_back(role_names().at(static_cast<std::size_t>(code)));
    // The last one does what the first does, but no later layer reads it.
    EXPECT_EQ(names, (std::vector<std::string>{"previous-token", "uniform", "sink", "long-range", "induction",
                                               "duplicate-token", "local", "local"}));
}

}  // namespace
}  // namespace headscope::experiments
