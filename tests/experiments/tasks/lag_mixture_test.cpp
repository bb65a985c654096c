#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "tests/experiments/tasks/generated_task.h"

namespace headscope::experiments {
namespace {

/// Distinct sizes throughout: V=5, T=9, lags 2 and 4.
std::map<std::string, Value> small() {
    return {{"vocab_size", 5}, {"seq_len", 9}, {"near", 2}, {"far", 4}, {"p_near", 0.5}, {"p_far", 0.2}};
}

TEST(LagMixture, FloorsAreThoseOfTheReferenceTable) {
    struct Row {
        std::int64_t vocab_size;
        double p_near, p_far, none, near, far, both;
    };
    for (const Row& row :
         {Row{16, .6, .3, 2.7726, 1.6771, 2.4206, 1.0758}, Row{16, .5, .4, 2.7726, 1.9606, 2.2086, 1.1178},
          Row{32, .45, .45, 3.4657, 2.5207, 2.5207, 1.2392}}) {
        const auto task =
            build_task("lag_mixture", {{"vocab_size", row.vocab_size}, {"p_near", row.p_near}, {"p_far", row.p_far}});
        const auto floors = floors_of(*task);
        ASSERT_EQ(floors.size(), 4U);
        EXPECT_NEAR(floors.at("none"), row.none, 5e-5);
        EXPECT_NEAR(floors.at("near"), row.near, 5e-5);
        EXPECT_NEAR(floors.at("far"), row.far, 5e-5);
        EXPECT_NEAR(floors.at("both"), row.both, 5e-5);
        EXPECT_EQ(task->best_floor(), "both");
        const auto references = references_of(*task);
        ASSERT_EQ(references.size(), 1U);
        EXPECT_GT(references.at("bag"), floors.at("both"));
        EXPECT_LT(references.at("bag"), floors.at("near"));
        if (row.vocab_size == 32) {
            EXPECT_NEAR(references.at("bag"), 1.80, 0.04);  // 1.73 to 1.82, by f and g
        }
    }
}

TEST(LagMixture, FloorsWithoutNoiseOrWithoutARelation) {
    const auto all = floors_of(*build_task("lag_mixture", {{"p_near", 1.0}, {"p_far", 0.0}}));
    EXPECT_NEAR(all.at("both"), 0, 1e-12);
    EXPECT_NEAR(all.at("near"), 0, 1e-12);
    EXPECT_NEAR(all.at("far"), std::log(16), 1e-12);
    const auto nothing = floors_of(*build_task("lag_mixture", {{"p_near", 0.0}, {"p_far", 0.0}}));
    for (const auto& [name, loss] : nothing) EXPECT_NEAR(loss, std::log(16), 1e-12) << name;
}

/// What a model that sees only `known` of a position's context can reach, measured on samples: the entropy of the
/// target given what is known, by counting.
template <class Known>
double measured(const Task& task, std::int64_t near, std::int64_t far, Known&& known) {
    const std::int64_t T = task.seq_len();
    std::map<std::vector<std::int64_t>, std::map<std::int64_t, double>> counts;
    double total = 0;
    for (std::int64_t step = 0; step < 2000; ++step) {
        const Batch batch = task.train_batch(step, 64);
        for (std::int64_t b = 0; b < 64; ++b) {
            const auto* x = batch.inputs.data<std::int64_t>() + b * T;
            const auto* y = batch.targets.data<std::int64_t>() + b * T;
            for (std::int64_t t = far; t < T; ++t) {
                ++counts[known(x[t - near], x[t - far])][y[t]];
                ++total;
            }
        }
    }
    double entropy = 0;
    for (const auto& [context, targets] : counts) {
        double sum = 0;
        for (const auto& [target, count] : targets) sum += count;
        for (const auto& [target, count] : targets) entropy -= count / total * std::log(count / sum);
    }
    return entropy;
}

TEST(LagMixture, FloorsAreWhatCountingOnSamplesGives) {
    using Known = std::vector<std::int64_t>;
    const auto task = build_task("lag_mixture", small());
    const auto floors = floors_of(*task);
    EXPECT_NEAR(measured(*task, 2, 4, [](auto, auto) { return Known{}; }), floors.at("none"), 0.005);
    EXPECT_NEAR(measured(*task, 2, 4, [](auto a, auto) { return Known{a}; }), floors.at("near"), 0.005);
    EXPECT_NEAR(measured(*task, 2, 4, [](auto, auto b) { return Known{b}; }), floors.at("far"), 0.005);
    EXPECT_NEAR(measured(*task, 2, 4, [](auto a, auto b) { return Known{a, b}; }), floors.at("both"), 0.005);
    EXPECT_NEAR(measured(*task, 2, 4,
                         [](auto a, auto b) {
                             return Known{std::min(a, b), std::max(a, b)};
                         }),
                references_of(*task).at("bag"), 0.005);
}

TEST(LagMixture, TargetsFollowTheRuleOfTheirClass) {
    const auto task = build_task("lag_mixture", small());
    ASSERT_EQ(task->class_names(), (std::vector<std::string>{"near", "far", "noise"}));
    std::map<std::int64_t, std::int64_t> f, g;
    std::vector<double> share(3);
    for (std::int64_t step = 0; step < 200; ++step) {
        const Batch batch = task->train_batch(step, 3);
        ASSERT_EQ(batch.inputs.shape(), (Shape{3, 9}));
        EXPECT_FALSE(batch.truth.defined());
        const auto x = values_of(batch.inputs), y = values_of(batch.targets), source = values_of(batch.classes);
        for (std::size_t i = 0; i < x.size(); ++i) {
            EXPECT_TRUE(x[i] >= 0 && x[i] < 5);
            if (i % 9 < 4) {
                EXPECT_EQ(y[i], -1);
                EXPECT_EQ(source[i], -1);
                continue;
            }
            share[static_cast<std::size_t>(source[i])] += 1.0 / (200 * 3 * 5);
            if (source[i] == 2) {
                EXPECT_TRUE(y[i] >= 0 && y[i] < 5);
                continue;
            }
            auto& map = source[i] == 0 ? f : g;
            const std::int64_t from = x[source[i] == 0 ? i - 2 : i - 4];
            EXPECT_EQ(map.emplace(from, y[i]).first->second, y[i]) << "the same token gave two targets";
        }
    }
    EXPECT_NEAR(share[0], 0.5, 0.03);
    EXPECT_NEAR(share[1], 0.2, 0.03);
    EXPECT_NEAR(share[2], 0.3, 0.03);
    for (const auto& map : {f, g}) {
        std::vector<std::int64_t> images;
        for (const auto& [token, image] : map) images.push_back(image);
        std::ranges::sort(images);
        EXPECT_EQ(images, (std::vector<std::int64_t>{0, 1, 2, 3, 4})) << "not a permutation";
    }
}

TEST(LagMixture, TruthIsTheDistributionThatTargetsAreDrawnFrom) {
    const auto task = build_task("lag_mixture", small());
    TruthLoss sum;
    for (std::int64_t index = 0; index < 300; ++index) add_truth_loss(sum, task->eval_batch(index, 7));
    EXPECT_NEAR(sum.cross_entropy / sum.scored, sum.entropy / sum.scored, 0.03);
    EXPECT_NEAR(sum.entropy / sum.scored, floors_of(*task).at("both"), 0.01);
}

TEST(LagMixture, DataAreAFunctionOfSeedSplitStepAndRow) { expect_pure_function("lag_mixture", small()); }

TEST(LagMixture, ImpossibleCombinationsAreNamed) {
    const auto keys = [](const std::map<std::string, Value>& values) { return problem_keys("lag_mixture", values); };
    EXPECT_EQ(keys({}), Keys{});
    EXPECT_EQ(keys({{"near", 12}}), Keys{"near"});
    EXPECT_EQ(keys({{"far", 48}}), Keys{"far"});
    EXPECT_EQ(keys({{"p_far", 0.41}}), Keys{"p_far"});
    EXPECT_EQ(keys({{"near", 60}, {"far", 50}, {"p_near", 0.9}}), (Keys{"near", "far", "p_far"}));
    // .7 + .2 + .1 rounds above 1 in some orders; a sum of 1 must pass whichever way it rounds.
    EXPECT_EQ(keys({{"p_near", 1 - 0.9}, {"p_far", 0.9}}), Keys{});
    EXPECT_EQ(keys({{"p_near", 0.7 + 0.1 + 0.1}, {"p_far", 0.1 + 1e-16}}), Keys{});
}

}  // namespace
}  // namespace headscope::experiments
