// Runs side by side: grouping by config, intervals, pairs of the same seed, and what is said of runs that do not fit.
#include "experiments/analysis/comparison.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "experiments/cli/comparison_text.h"
#include "experiments/probes/probe.h"
#include "experiments/storage/log.h"
#include "experiments/storage/run_folder.h"
#include "tests/experiments/temporary_folder.h"
#include "tests/experiments/text_checks.h"

namespace headscope::experiments {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

struct Sample {
    std::int64_t seed = 0;
    double loss = 1;
    std::string config = "[optimizer]\nlr = 0.001\n";
    std::string state = "finished";
    std::int64_t step = 20;
    std::vector<std::string> columns = {"accuracy"};  ///< of /eval, besides the loss
    std::vector<double> roles = {};                   ///< of one layer of heads
    std::string lineage = {};
};

/// Writes a run into a folder of its own and returns it. Every evaluation row but the last is wrong on purpose.
std::string write_run(const TemporaryFolder& parent, const std::string& name, const Sample& sample) {
    const std::string folder = parent.path(name);
    make_folders(folder);
    Log log(RunPaths(folder).log);
    log.set_attribute("state", sample.state);
    log.set_attribute("seed", sample.seed);
    log.set_attribute("run_id", "id-" + name);
    const std::string own = "name = \"" + name + "\"\nseed = " + std::to_string(sample.seed) + "\n";
    log.set_text("/config/resolved", own + sample.config, "config");
    log.declare_series("train", {{"loss", "nat/token", "training loss"}, {"elapsed", "s", "time"}});
    log.append("train", sample.step - 1, {sample.loss + 0.5, 1});
    std::vector<Column> columns{{"loss", "nat/token", "evaluation loss"}};
    for (const std::string& column : sample.columns) columns.push_back({column, "1", "the " + column});
    log.declare_series("eval", columns);
    log.append("eval", 0, std::vector<double>(columns.size(), 77));
    std::vector<double> row(columns.size(), sample.loss / 4);
    row[0] = sample.loss;
    log.append("eval", sample.step, row);
    if (!sample.roles.empty()) {
        nn::TransformerOptions model;
        model.block.num_heads = static_cast<std::int64_t>(sample.roles.size());
        model.num_layers = 1;
        log.declare_metric(make_probe("role")->spec({model, 12, {}}), false);
        log.append_metric("role", 0, std::vector<double>(sample.roles.size(), 7));
        log.append_metric("role", 10, sample.roles);
    }
    if (!sample.lineage.empty()) {
        log.set_attribute("lineage", sample.lineage);
        log.set_attribute("parent_config", std::string("abcd0123456789"));
        log.set_attribute("parent_step", std::int64_t{10});
    }
    log.publish();
    return folder;
}

Comparison compare_all(const std::vector<std::string>& folders) {
    std::vector<ComparedRun> runs;
    for (const std::string& folder : folders) runs.push_back(read_compared_run(folder));
    return compare(runs);
}

std::vector<std::vector<std::string>> group_values(const Comparison& comparison) {
    std::vector<std::vector<std::string>> values;
    for (const RunGroup& group : comparison.groups) {
        values.emplace_back();
        for (const ConfigValue& value : group.values) values.back().push_back(value.text);
    }
    return values;
}

std::string lr(const std::string& value) { return "[optimizer]\nlr = " + value + "\n"; }

// Critical values of the t distribution: from a table for 4 degrees of freedom, in closed form for 1 and 2.
const double t_1 = std::tan(0.475 * 3.14159265358979323846), t_2 = 0.95 * std::sqrt(2 / (1 - 0.95 * 0.95));

TEST(Estimate, IsMeanAndStudentsInterval) {
    const std::vector<double> values{1, 2, 4, 8, 10};  // mean 5, squares 16 + 9 + 1 + 9 + 25
    const Estimate five = estimate(values);
    const double half_width = 2.7764451051977987 * std::sqrt(60.0 / 4 / 5);
    EXPECT_NEAR(five.mean, 5, 1e-12);
    EXPECT_NEAR(five.low, 5 - half_width, 1e-10);
    EXPECT_NEAR(five.high, 5 + half_width, 1e-10);
    EXPECT_EQ(five.minimum, 1);
    EXPECT_EQ(five.maximum, 10);
    EXPECT_EQ(five.n, 5);
    const Estimate two = estimate({1, 4});
    EXPECT_NEAR(two.high, 2.5 + t_1 * 1.5, 1e-9);
    EXPECT_NEAR(two.low, 2.5 - t_1 * 1.5, 1e-9);
}

TEST(Estimate, OfOneOrNoneHasNoInterval) {
    const Estimate one = estimate({3});
    EXPECT_EQ(one.mean, 3);
    EXPECT_EQ(one.maximum, 3);
    EXPECT_EQ(one.n, 1);
    EXPECT_TRUE(std::isnan(one.low) && std::isnan(one.high));
    const Estimate none = estimate({});
    EXPECT_EQ(none.n, 0);
    EXPECT_TRUE(std::isnan(none.mean) && std::isnan(none.minimum));
}

TEST(Compare, GroupsByWhatDiffersAndSortsNumbersAsNumbers) {
    TemporaryFolder folder;
    std::vector<std::string> runs;
    for (const char* value : {"0.1", "1e-5", "0.02"})
        for (std::int64_t seed = 0; seed < 2; ++seed)
            runs.push_back(write_run(folder, std::string(value) + "-" + std::to_string(seed),
                                     {.seed = seed, .config = "x = 5\n" + lr(value) + "heads = [0, 2]\n"}));
    const Comparison comparison = compare_all(runs);
    EXPECT_EQ(comparison.differs, std::vector<std::string>{"optimizer.lr"});
    EXPECT_EQ(group_values(comparison), (std::vector<std::vector<std::string>>{{"1e-05"}, {"0.02"}, {"0.1"}}));
    for (const RunGroup& group : comparison.groups) EXPECT_EQ(group.runs.size(), 2u);
    EXPECT_TRUE(comparison.notes.empty());
}

TEST(Compare, SeesListsMissingKeysAndTexts) {
    TemporaryFolder folder;
    const Comparison comparison =
        compare_all({write_run(folder, "a", {.config = "kind = \"\"\nclones = [1, 2]\n"}),
                     write_run(folder, "b", {.config = "kind = \"x\"\nclones = [1, 3]\n"}),
                     write_run(folder, "c", {.config = "kind = \"x\"\nclones = [1, 3]\nwarm = true\n"})});
    EXPECT_EQ(comparison.differs, (std::vector<std::string>{"kind", "clones", "warm"}));
    EXPECT_EQ(group_values(comparison), (std::vector<std::vector<std::string>>{
                                            {"\"\"", "[1, 2]", ""}, {"x", "[1, 3]", ""}, {"x", "[1, 3]", "true"}}));
}

TEST(Compare, EstimatesTheLastRowsOfEachGroup) {
    TemporaryFolder folder;
    std::vector<std::string> runs;
    const std::vector<double> losses{1, 2, 4, 8, 10};
    for (std::size_t i = 0; i < losses.size(); ++i)
        runs.push_back(
            write_run(folder, "a" + std::to_string(i), {.seed = static_cast<std::int64_t>(i), .loss = losses[i]}));
    const Comparison comparison = compare_all(runs);
    ASSERT_EQ(comparison.groups.size(), 1u);
    const auto& quantities = comparison.groups[0].quantities;
    EXPECT_NEAR(quantities.at("eval/loss").mean, 5, 1e-12);
    EXPECT_NEAR(quantities.at("eval/accuracy").mean, 1.25, 1e-12);
    EXPECT_NEAR(quantities.at("train/loss").mean, 5.5, 1e-12);
    EXPECT_FALSE(quantities.contains("eval/step"));
    const std::string text = cli::to_text(comparison);
    EXPECT_TRUE(contains(text,
                         "\neval/loss, nat/token: evaluation loss\n"
                         "  all  5.0000  [0.1911, 9.8089]   1.0000..10.0000  n=5\n"))
        << text;
}

TEST(Compare, CountsOneMeasurementOnce) {
    TemporaryFolder folder;
    const std::string first = write_run(folder, "first", {.seed = 3, .loss = 2}),
                      twin = write_run(folder, "twin", {.seed = 3, .loss = 9}),
                      other = write_run(folder, "other", {.seed = 4, .loss = 4});
    const Comparison comparison = compare_all({first, twin, other, other});
    ASSERT_EQ(comparison.groups.size(), 1u);
    EXPECT_EQ(comparison.groups[0].quantities.at("eval/loss").n, 2);
    EXPECT_EQ(comparison.groups[0].quantities.at("eval/loss").mean, 3);
    ASSERT_EQ(comparison.notes.size(), 2u);
    EXPECT_TRUE(contains(comparison.notes[0], twin + " has the config and the seed of " + first));
    EXPECT_TRUE(contains(comparison.notes[1], other + " has the config and the seed of " + other));
}

TEST(Compare, PairsTheSeedsThatGroupsShare) {
    TemporaryFolder folder;
    std::vector<std::string> runs;
    const std::vector<double> first{1, 2, 4, 7}, second{2, 2.5, 6, 100};
    for (std::int64_t seed = 0; seed < 4; ++seed) {
        const auto i = static_cast<std::size_t>(seed);
        runs.push_back(write_run(folder, "a" + std::to_string(i), {seed, first[i], lr("0.1")}));
        runs.push_back(write_run(folder, "b" + std::to_string(i), {seed == 3 ? 33 : seed, second[i], lr("0.2")}));
    }
    runs.push_back(write_run(folder, "c", {.seed = 50, .loss = 5, .config = lr("0.3")}));
    const Comparison comparison = compare_all(runs);
    ASSERT_EQ(comparison.groups.size(), 3u);
    EXPECT_TRUE(comparison.groups[0].differences.empty());
    const Estimate difference = comparison.groups[1].differences.at("eval/loss");  // 1, 0.5, 2
    EXPECT_EQ(difference.n, 3);
    EXPECT_NEAR(difference.mean, 3.5 / 3, 1e-12);
    const double variance = (1 + 0.25 + 4 - 3.5 * 3.5 / 3) / 2;
    EXPECT_NEAR(difference.high - difference.mean, t_2 * std::sqrt(variance / 3), 1e-9);
    EXPECT_EQ(comparison.groups[2].differences.at("eval/loss").n, 0);
    const std::string text = cli::to_text(comparison);
    EXPECT_TRUE(contains(text, "\ndifferences are to the first group; --against names another\n")) << text;
    EXPECT_TRUE(contains(text, "difference to lr=0.1, same seeds\n  lr=0.2   1.1667  [-0.7306, 3.0640] ")) << text;
    EXPECT_EQ(text.find("lr=0.3", text.find("same seeds")), std::string::npos) << text;
}

/// A run that also logs induction and overlap of one layer of two heads, scaled by `size`, at steps 0, 5 and 10.
std::string write_heads(const TemporaryFolder& parent, const std::string& name, std::int64_t seed, double size,
                        const std::string& config) {
    const std::string folder = write_run(parent, name, {.seed = seed, .config = config});
    Log log(RunPaths(folder).log);
    log.set_attribute("state", std::string("finished"));
    log.set_attribute("seed", seed);
    log.set_attribute("run_id", "id-" + name);
    log.set_text("/config/resolved", config, "config");
    log.declare_series("eval", {{"loss", "nat/token", "evaluation loss"}});
    for (const std::int64_t step : {0, 4, 8, 12}) log.append("eval", step, {4 - 0.25 * static_cast<double>(step)});
    nn::TransformerOptions model;
    model.block.num_heads = 2;
    model.num_layers = 1;
    for (const char* metric : {"induction", "overlap"})
        log.declare_metric(make_probe(metric)->spec({model, 12, {}}), true);
    for (const std::int64_t step : {0, 5, 10}) {
        const double x = size * static_cast<double>(step) / 10;
        log.append_metric("induction", step, {x, step == 5 ? nan : 3 * x});
        std::vector<double> pairs;
        for (int projection = 0; projection < 4; ++projection) pairs.insert(pairs.end(), {1, x, x / 2, 1});
        log.append_metric("overlap", step, pairs);
    }
    log.publish();
    return folder;
}

struct HeadRuns {
    TemporaryFolder folder;
    std::vector<std::string> runs{
        write_heads(folder, "a0", 0, 0.1, lr("0.1")), write_heads(folder, "a1", 1, 0.2, lr("0.1")),
        write_heads(folder, "b0", 0, 0.3, lr("0.2")), write_heads(folder, "b1", 1, 0.5, lr("0.2"))};
    Comparison compared(const CompareOptions& options, const std::string& against = "") const {
        std::vector<ComparedRun> read;
        for (const std::string& run : runs) read.push_back(read_compared_run(run, options));
        return compare(read, options, against);
    }
};

TEST(Compare, TakesAnyMetricOfTheHeads) {
    const HeadRuns runs;
    const Comparison comparison =
        runs.compared({.quantities = {"induction", "overlap/mean", "induction[0.0]", "eval/loss"}});
    std::vector<std::string> names;
    for (const Quantity& quantity : comparison.quantities) names.push_back(quantity.name);
    EXPECT_EQ(names, (std::vector<std::string>{"induction/mean", "induction/max", "induction/min", "overlap/mean",
                                               "induction[0.0]", "eval/loss"}));
    const auto& first = comparison.groups[0].quantities;
    EXPECT_NEAR(first.at("induction/mean").mean, (0.2 + 0.4) / 2, 1e-12);
    EXPECT_NEAR(first.at("induction/max").mean, (0.3 + 0.6) / 2, 1e-12);
    EXPECT_NEAR(first.at("induction/min").mean, (0.1 + 0.2) / 2, 1e-12);
    EXPECT_NEAR(first.at("induction[0.0]").mean, (0.1 + 0.2) / 2, 1e-12);
    EXPECT_NEAR(first.at("overlap/mean").mean, (0.075 + 0.15) / 2, 1e-12);  // of pairs of two heads
    EXPECT_NEAR(comparison.groups[1].differences.at("induction/max").mean, (0.6 + 0.9) / 2, 1e-12);
    EXPECT_TRUE(
        contains(cli::to_text(comparison), "\ninduction/max: difference to lr=0.1, same seeds\n  lr=0.2  0.7500"))
        << cli::to_text(comparison);
    for (const auto& [asked, message] :
         {std::pair("inductio", "no run has logged inductio"), std::pair("induction[0.2]", "induction has no head 0.2"),
          std::pair("induction[0]", "[layer.head]"), std::pair("induction/most", "/mean, /max, /min")}) {
        try {
            runs.compared({.quantities = {asked}});
            ADD_FAILURE() << asked;
        } catch (const UsageError& error) {
            EXPECT_TRUE(contains(error.what(), message)) << error.what();
        }
    }
}

TEST(Compare, IntervalsEndWhereTheQuantityDoes) {
    const HeadRuns runs;
    const Comparison comparison =
        runs.compared({.quantities = {"induction/min", "overlap/mean", "eval/loss"}, .above = 0.1});
    const auto& first = comparison.groups[0].quantities;
    for (const char* name : {"induction/min", "overlap/mean"}) {  // of 0.1 and 0.2; of 0.075 and 0.15
        EXPECT_EQ(first.at(name).low, 0) << name;
        EXPECT_GT(first.at(name).high, 0.5) << name;
        EXPECT_LE(first.at(name).high, 1) << name;
    }
    EXPECT_EQ(first.at("induction/min first >= 0.1").low, 0);  // steps 10 and 5
    // Differences of two may lie on either side.
    EXPECT_LT(comparison.groups[1].differences.at("induction/min").low, 0);

    TemporaryFolder folder;
    const Comparison losses =
        compare_all({write_run(folder, "a", {.loss = 0.1, .columns = {"accuracy", "excess"}}),
                     write_run(folder, "b", {.seed = 1, .loss = 3.9, .columns = {"accuracy", "excess"}})});
    const auto& values = losses.groups[0].quantities;
    EXPECT_EQ(values.at("eval/loss").low, 0);
    EXPECT_GT(values.at("eval/loss").high, 20);
    EXPECT_EQ(values.at("eval/accuracy").low, 0);
    EXPECT_EQ(values.at("eval/accuracy").high, 1);
    EXPECT_LT(values.at("eval/excess").low, -4);
}

TEST(Compare, TellsEachRunsOwnTitle) {
    TemporaryFolder folder;
    std::vector<std::string> folders;
    for (const char* floor : {"both", "copy", "both"}) {
        folders.push_back(write_run(folder, std::string(1, static_cast<char>('a' + folders.size())), {}));
        Log log(RunPaths(folders.back()).log);
        log.set_attribute("state", std::string("finished"));
        log.set_attribute("seed", static_cast<std::int64_t>(folders.size()));
        log.set_attribute("run_id", "id-" + folders.back());
        log.set_text("/config/resolved", std::string("[task]\ntype = \"") + floor + "\"\n", "config");
        log.declare_series("eval", {{"excess", "nat/token", std::string("above floor `") + floor + "`"}});
        log.append("eval", 4, {0.5});
        log.publish();
    }
    EXPECT_TRUE(contains(cli::to_text(compare_all(folders)),
                         "\neval/excess, nat/token: above floor `both`; in other runs above floor `copy`\n"));
    EXPECT_TRUE(contains(cli::to_text(compare_all({folders[0], folders[2]})),
                         "\neval/excess, nat/token: above floor `both`\n"));
}

TEST(Compare, TakesTheRowOfAStepAndTheFirstStepOverALimit) {
    const HeadRuns runs;
    const Comparison at = runs.compared({.quantities = {"induction/max", "eval/loss"}, .step = 7});
    EXPECT_NEAR(at.groups[0].quantities.at("induction/max").mean, (0.05 + 0.1) / 2,
                1e-12);                                          // row 5; head 1 has NaN there
    EXPECT_EQ(at.groups[0].quantities.at("eval/loss").mean, 3);  // row 4
    EXPECT_EQ(runs.compared({.quantities = {"eval/loss"}, .step = -1}).groups[0].quantities.at("eval/loss").n, 0);

    const Comparison first = runs.compared({.quantities = {"induction/max", "eval/loss"}, .above = 0.25, .below = 2});
    const Estimate above = first.groups[1].quantities.at("induction/max first >= 0.25");  // .15, .9; .25, 1.5
    EXPECT_EQ(above.minimum, 5);
    EXPECT_EQ(above.maximum, 10);
    EXPECT_EQ(first.groups[0].quantities.at("eval/loss first <= 2").mean, 8);
    EXPECT_EQ(first.groups[0].quantities.at("eval/loss first >= 0.25").mean, 0);
}

TEST(Compare, TakesTheMeanOverTheStepsAndPairsIt) {
    const HeadRuns runs;
    const Comparison whole = runs.compared({.quantities = {"induction[0.0]", "eval/loss"}, .area = true});
    // induction[0.0] goes straight from 0 to size, eval/loss from 4 to 1.
    EXPECT_NEAR(whole.groups[0].quantities.at("induction[0.0] area").mean, (0.05 + 0.1) / 2, 1e-12);
    EXPECT_NEAR(whole.groups[1].quantities.at("eval/loss area").mean, 2.5, 1e-12);
    EXPECT_NEAR(whole.groups[1].differences.at("induction[0.0] area").mean, 0.1 + 0.025, 1e-12);
    EXPECT_TRUE(
        contains(cli::to_text(whole), "\neval/loss area, nat/token: mean of eval/loss over its steps: the area"));
    const Comparison part = runs.compared({.quantities = {"eval/loss"}, .area = true, .from = 3, .to = 8});
    EXPECT_NEAR(part.groups[0].quantities.at("eval/loss area").mean, 2.5, 1e-12);  // rows 4 and 8: 3 and 2
    EXPECT_TRUE(part.notes.empty());
    const Comparison losses = runs.compared({.area = true});
    EXPECT_EQ(losses.paired, (std::vector<std::string>{"eval/loss", "eval/loss area"}));

    TemporaryFolder folder;
    std::vector<ComparedRun> uneven;
    for (const std::int64_t step : {20, 30})
        uneven.push_back(
            read_compared_run(write_run(folder, std::to_string(step), {.seed = step, .step = step}), {.area = true}));
    EXPECT_TRUE(contains(compare(uneven, {.area = true}).notes.at(1),
                         "Not over the same steps in all runs: eval/loss area (begins at 0 to 0, ends at 20 to 30)"));
}

TEST(Compare, TakesTheNumberOfHeadsWithARole) {
    TemporaryFolder folder;
    std::vector<std::string> folders{write_run(folder, "a", {.roles = {1, 3, 1}}),
                                     write_run(folder, "b", {.seed = 1, .roles = {3, 7, 1}}),
                                     write_run(folder, "c", {.config = lr("0.1"), .roles = {7, 7, 7}})};
    const auto compared = [&](const CompareOptions& options) {
        std::vector<ComparedRun> read;
        for (const std::string& run : folders) read.push_back(read_compared_run(run, options));
        return compare(read, options);
    };
    const Comparison one = compared({.quantities = {"role/induction"}, .above = 2, .area = true});
    std::vector<std::string> names;
    for (const Quantity& quantity : one.quantities) names.push_back(quantity.name);
    ASSERT_EQ(names.size(), 3u);
    EXPECT_EQ(names[0], "role/induction");
    const RunGroup &several = one.groups[0], &single = one.groups[1];
    EXPECT_EQ(several.quantities.at("role/induction").mean, 1.5);
    EXPECT_TRUE(std::isnan(several.quantities.at("role/induction").low));
    EXPECT_EQ(several.quantities.at("role/induction area").mean, 0.75);  // from none at step 0
    EXPECT_EQ(several.quantities.at("role/induction first >= 2").mean, 10);
    EXPECT_EQ(several.quantities.at("role/induction first >= 2").n, 1);
    EXPECT_EQ(single.quantities.at("role/induction first >= 2").n, 0);
    const Estimate difference = single.differences.at("role/induction");
    EXPECT_EQ(difference.mean, -2);
    EXPECT_TRUE(std::isnan(difference.low));
    EXPECT_EQ(compared({.quantities = {"role"}}).quantities.size(), 9u);
    for (const auto& [asked, message] :
         {std::pair("role/inducton", "did you mean induction?"), std::pair("role/mean", "unknown role mean"),
          std::pair("role[0.1]", "known: ")})
        try {
            compared({.quantities = {asked}});
            ADD_FAILURE() << asked;
        } catch (const UsageError& error) {
            EXPECT_TRUE(contains(error.what(), message)) << error.what();
        }
}

TEST(Compare, IsAlsoATable) {
    TemporaryFolder folder;
    const std::string a = write_run(folder, "a", {.seed = 6, .loss = 0.1, .config = "path = \"x, \\\"y\\\"\"\n"}),
                      b = write_run(folder, "b", {.seed = 7, .loss = nan, .config = "n = 5\npath = \"z\"\n"});
    EXPECT_EQ(cli::to_csv(compare_all({b, a})), "folder,path,n,seed,eval/loss,eval/accuracy,train/loss\n" + a +
                                                    ",\"x, \"\"y\"\"\",,6,0.1,0.025,0.6\n" + b + ",z,5,7,,,\n");
}

TEST(Compare, TakesItsBaselineFromTheUser) {
    const HeadRuns runs;
    for (const char* against : {"lr=0.2", "optimizer.lr=0.2"}) {
        const Comparison comparison = runs.compared({.quantities = {"induction/max"}}, against);
        EXPECT_EQ(comparison.baseline, 1U);
        EXPECT_NEAR(comparison.groups[0].differences.at("induction/max").mean, -0.75, 1e-12);
        EXPECT_TRUE(comparison.groups[1].differences.empty());
        EXPECT_TRUE(contains(cli::to_text(comparison), "\ndifferences are to the group that --against names\n"));
        EXPECT_FALSE(nlohmann::json::parse(cli::to_json(comparison))["groups"][0].contains("difference_to_first"));
    }
    EXPECT_THROW(runs.compared({}, "lr=0.3"), UsageError);
}

TEST(Compare, ShowsOnlyColumnsThatAllRunsLogged) {
    TemporaryFolder folder;
    const Comparison comparison = compare_all({write_run(folder, "a", {.columns = {"accuracy", "loss_near"}}),
                                               write_run(folder, "b", {.seed = 1, .columns = {"accuracy", "far"}})});
    std::vector<std::string> names;
    for (const Quantity& quantity : comparison.quantities) names.push_back(quantity.name);
    EXPECT_EQ(names, (std::vector<std::string>{"eval/loss", "eval/accuracy", "train/loss"}));
    ASSERT_EQ(comparison.notes.size(), 1u);
    EXPECT_EQ(comparison.notes[0], "Not every run logged eval/loss_near, eval/far: left out.");
}

TEST(Compare, CountsHeadsByRoleWhereRolesWereLogged) {
    TemporaryFolder folder;
    const std::string without = write_run(folder, "c", {.seed = 2});
    const Comparison comparison = compare_all({write_run(folder, "a", {.roles = {3, 3, 0}}),
                                               write_run(folder, "b", {.seed = 1, .roles = {3, 1, 1}}), without});
    const auto& quantities = comparison.groups[0].quantities;
    EXPECT_EQ(quantities.at("role/local").mean, 1.5);
    EXPECT_EQ(quantities.at("role/local").n, 2);
    EXPECT_EQ(quantities.at("role/induction").mean, 1);
    EXPECT_EQ(quantities.at("role/previous-token").mean, 0.5);
    EXPECT_FALSE(quantities.contains("role/unclear"));  // only of older rows
    EXPECT_TRUE(std::isnan(quantities.at("role/local").low) && std::isnan(quantities.at("role/local").high));
    const std::string text = cli::to_text(comparison);
    EXPECT_TRUE(contains(text, "  1.0000..2.0000  n=2\n") && text.find("[-") == std::string::npos) << text;
    ASSERT_EQ(comparison.notes.size(), 1u);
    EXPECT_EQ(comparison.notes[0],
              "Not counted in role/previous-token, role/induction, role/local, having no number "
              "there: " +
                  without + ".");
}

TEST(Compare, SaysWhichRunsAreNotLikeTheOthers) {
    TemporaryFolder folder;
    const std::string running = write_run(folder, "a", {.state = "running", .step = 10}),
                      diverged = write_run(folder, "b", {.seed = 1, .loss = nan, .state = "failed"});
    const Comparison comparison = compare_all({running, diverged});
    EXPECT_EQ(comparison.groups[0].quantities.at("eval/loss").n, 1);
    const std::string text = cli::to_text(comparison);
    EXPECT_EQ(
        comparison.notes,
        (std::vector<std::string>{
            running + " is not finished: stopped at step 10; it holds no config.toml, so nothing can go on in it.",
            diverged + " is not finished: failed at step 20.", "The runs end at different steps, 10 to 20.",
            "Not counted in eval/loss, eval/accuracy, train/loss, having no number there: " + diverged + "."}));
    EXPECT_TRUE(contains(text, "one run")) << text;
}

TEST(Compare, ForksAreGroupsOfTheirOwnAndReplaysAreRefused) {
    TemporaryFolder folder;
    const std::string parent = write_run(folder, "a", {}), fork = write_run(folder, "b", {.lineage = "fork"});
    const Comparison comparison = compare_all({fork, parent});
    EXPECT_EQ(comparison.differs, std::vector<std::string>{"fork"});
    EXPECT_EQ(group_values(comparison), (std::vector<std::vector<std::string>>{{""}, {"abcd0123@10"}}));
    EXPECT_EQ(comparison.groups[1].differences.at("eval/loss").n, 1);
    const std::string replay = write_run(folder, "c", {.lineage = "replay"});
    try {
        read_compared_run(replay);
        FAIL() << "no error";
    } catch (const UsageError& error) {
        EXPECT_EQ(std::string(error.what()), "compare: " + replay + " is a replay, not a run of its own");
    }
}

TEST(Compare, NamesRunsThatCannotBeRead) {
    TemporaryFolder folder;
    EXPECT_THROW(read_compared_run(folder.path("nowhere")), UsageError);
    EXPECT_THROW(read_compared_run(folder.path()), UsageError);
    Log log(RunPaths(folder.path()).log);  // has nothing of what a run's log has
    log.publish();
    try {
        read_compared_run(folder.path());
        FAIL() << "no error";
    } catch (const IoError& error) {
        EXPECT_TRUE(contains(error.what(), folder.path())) << error.what();
    }
}

TEST(Compare, LongLabelsAreSaidOnceAndWhole) {
    TemporaryFolder folder;
    std::vector<std::string> runs;
    for (int i = 0; i < 12; ++i) {
        const std::string path = std::string(90, 'p') + std::to_string(i);
        runs.push_back(
            write_run(folder, std::to_string(i),
                      {.loss = i == 3 ? -1.23456e-7 : 1e5 * i, .config = "path = \"" + path + "\"\n" + lr("0.1")}));
    }
    const Comparison comparison = compare_all(runs);
    const std::string text = cli::to_text(comparison);
    expect_at_most_80_columns(text);
    EXPECT_TRUE(contains(text, "\ngroups\n   1  path=ppp")) << text;
    EXPECT_TRUE(contains(text, "-1.23e-07  one run")) << text;
    const auto json = nlohmann::json::parse(cli::to_json(comparison));
    EXPECT_EQ(json["groups"].size(), 12u);
    EXPECT_EQ(json["groups"][0]["values"]["path"], std::string(90, 'p') + "0");
}

TEST(Compare, IsAlsoJson) {
    TemporaryFolder folder;
    const std::string a = write_run(folder, "a", {.seed = 6, .loss = 2, .config = "n = 5\n" + lr("0.5")}),
                      b = write_run(folder, "b", {.seed = 6, .loss = 3, .config = "n = 7\nm = \"x\"\n" + lr("0.5")});
    const auto json = nlohmann::json::parse(cli::to_json(compare_all({b, a})));
    EXPECT_EQ(json["differs"], (nlohmann::json{"n", "m"}));
    ASSERT_EQ(json["groups"].size(), 2u);
    EXPECT_EQ(json["groups"][0]["values"], (nlohmann::json{{"n", 5}, {"m", nullptr}}));
    EXPECT_EQ(json["groups"][1]["values"], (nlohmann::json{{"n", 7}, {"m", "x"}}));
    const auto& run = json["groups"][0]["runs"][0];
    EXPECT_EQ(run["run"], a);
    EXPECT_EQ(run["seed"], 6);
    EXPECT_EQ(run["state"], "finished");
    EXPECT_EQ(run["alive"], false);
    EXPECT_EQ(run["step"], 20);
    EXPECT_EQ(run["eval/loss"], 2);
    EXPECT_EQ(json["groups"][0]["quantities"]["eval/loss"]["mean"], 2);
    EXPECT_TRUE(json["groups"][0]["quantities"]["eval/loss"]["low"].is_null());
    EXPECT_TRUE(json["groups"][0]["difference_to_first"].is_null());
    EXPECT_EQ(json["groups"][1]["difference_to_first"]["mean"], 1);
    EXPECT_TRUE(json["notes"].empty());
}

}  // namespace
}  // namespace headscope::experiments
