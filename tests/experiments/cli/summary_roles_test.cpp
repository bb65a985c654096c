// What the summary of a run says about roles.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "experiments/base/errors.h"
#include "experiments/cli/summary_text.h"
#include "experiments/probes/probe.h"
#include "experiments/storage/log.h"
#include "experiments/storage/run_folder.h"
#include "tests/experiments/temporary_folder.h"
#include "tests/experiments/text_checks.h"

namespace headscope::experiments::cli {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/// A log of two layers of two heads that holds the metrics `names`, the newest rows at step 10, but for `sink`.
void write_roles(const std::string& folder, const std::vector<std::string>& names, std::int64_t step_of_sink,
                 std::int64_t window = 0, double distance = 5, const std::vector<double>& roles = {2, 5, 6, 7}) {
    Log log(RunPaths(folder).log);
    log.set_attribute("state", std::string("finished"));
    log.set_attribute("seed", std::int64_t{4});
    log.set_text("/config/resolved", "[model]\nwindow = " + std::to_string(window) + "\n", "config");
    nn::TransformerOptions model;
    model.block.num_heads = 2;
    const std::map<std::string, std::vector<double>> newest{{"previous_token", {0.75, 0.25, 0.875, 0.125}},
                                                            {"duplicate_token", {0, 0, 0, 0}},
                                                            {"prefix_matching", {0, 0, 0, 0.5}},
                                                            {"attention_entropy_normalized", {0.25, 0.625, 0.25, 0.25}},
                                                            {"attention_distance", {5, distance, 1, 5}},
                                                            {"sink", {0, 0, 0, 0}},
                                                            {"role", roles}};
    for (const std::string& name : names) log.declare_metric(make_probe(name)->spec({model, 12, {}}), false);
    for (const std::string& name : names) {
        log.append_metric(name, 0, std::vector<double>(4, 0.0));
        log.append_metric(name, name == "sink" ? step_of_sink : 10, newest.at(name));
    }
    log.publish();
}

std::vector<std::string> roles_of(const RunSummary& summary) {
    std::vector<std::string> roles;
    for (const HeadRow& row : summary.heads) roles.push_back(row.role);
    return roles;
}

const std::vector<std::string> evidence(role_metrics.begin(), role_metrics.end());

TEST(SummaryRoles, NamesRolesFromTheLoggedMetricsByTheSameRule) {
    TemporaryFolder folder;
    write_roles(folder.path(), evidence, 10);
    const RunSummary summary = read_summary(folder.path());
    EXPECT_EQ(roles_of(summary), (std::vector<std::string>{"previous-token", "unclear", "local", "induction"}));
    EXPECT_EQ(summary.heads[2].evidence[0], 0.875);
    const std::string text = to_text(summary);
    expect_at_most_80_columns(text);
    for (const char* part : {"                      attention\n"
                             "head  role             distance\n"
                             "                         tokens\n"
                             "0.0   previous-token       5.00\n"
                             "0.1   unclear              5.00\n",
                             "  Heads by role: 1 previous-token, 1 induction, 1 local, 1 unclear.\n"})
        EXPECT_TRUE(contains(text, part)) << part << " in\n" << text;
}

TEST(SummaryRoles, MeasureDistanceAgainstTheWindow) {
    // A distance of .6 is near where uniform weights have 2.75, and far where a window of 2 leaves them .46.
    for (const auto& [window, role] : {std::pair<std::int64_t, std::string>{0, "local"}, {2, "unclear"}}) {
        TemporaryFolder folder;
        write_roles(folder.path(), evidence, 10, window, 0.6);
        EXPECT_EQ(roles_of(read_summary(folder.path()))[1], role);
    }
}

/// Adds the newest rows of lag_profile [2, 2, 12] at `step`: head 0.1 has .375 on lag 1 and .5 on lag 4.
void add_lags(const std::string& folder, std::int64_t step) {
    const std::unique_ptr<Log> log = Log::reopen(RunPaths(folder).log, 100);
    nn::TransformerOptions model;
    model.block.num_heads = 2;
    log->declare_metric(make_probe("lag_profile")->spec({model, 12, {}}), false);
    std::vector<double> lags(48, 0.0);
    lags[12 + 1] = 0.375;
    lags[12 + 4] = 0.5;
    log->append_metric("lag_profile", step, lags);
    log->publish();
}

TEST(SummaryRoles, TellsWhatAMixedHeadIsMixedOf) {
    for (const bool logged : {false, true}) {  // the role itself
        TemporaryFolder folder;
        std::vector<std::string> names = evidence;
        if (logged) names.emplace_back("role");
        write_roles(folder.path(), names, 10, 0, 5, {2, 8, 6, 7});
        add_lags(folder.path(), 10);
        const RunSummary summary = read_summary(folder.path());
        EXPECT_EQ(summary.heads[1].role, "mixed");
        const std::string text = to_text(summary);
        expect_at_most_80_columns(text);
        EXPECT_TRUE(contains(text, "\n0.1   mixed ")) << text;
        EXPECT_TRUE(contains(text, "  Mixed: 0.1 (lag 1 38 %, lag 4 50 %).\n")) << text;
        const auto json = nlohmann::json::parse(to_json(summary));
        EXPECT_EQ(json["heads"][1]["mixed_of"],
                  nlohmann::json::parse(R"([{"lag": 1, "weight": 0.375}, {"lag": 4, "weight": 0.5}])"));
        EXPECT_TRUE(json["heads"][0]["mixed_of"].is_null());
    }
}

TEST(SummaryRoles, SaysWhatWouldTellWhereAMixedHeadLooks) {
    TemporaryFolder folder;
    write_roles(folder.path(), {"role"}, 10, 0, 5, {2, 8, 6, 7});
    add_lags(folder.path(), 20);  // of other weights
    const RunSummary summary = read_summary(folder.path());
    EXPECT_EQ(summary.heads[1].role, "mixed");
    EXPECT_TRUE(summary.heads[1].mixed_of.empty());
    EXPECT_TRUE(contains(to_text(summary), "  Log lag_profile with role to see where the mixed heads look.\n"));
}

TEST(SummaryRoles, TakesLoggedRolesAsTheyAre) {
    TemporaryFolder folder;
    write_roles(folder.path(), {"role", "sink"}, 10);
    const RunSummary summary = read_summary(folder.path());
    EXPECT_EQ(roles_of(summary), (std::vector<std::string>{"duplicate-token", "sink", "uniform", "unclear"}));
    const std::string text = to_text(summary);
    EXPECT_TRUE(contains(text, "\n\nhead  role\n0.0   duplicate-token\n0.1   sink\n")) << text;
    const auto json = nlohmann::json::parse(to_json(summary));
    EXPECT_EQ(json["heads"][0]["role"], "duplicate-token");
    EXPECT_EQ(json["heads"][0]["sink"], 0);
    EXPECT_TRUE(json["heads"][0]["previous_token"].is_null());
}

TEST(SummaryRoles, NamesNoRolesFromMetricsOfDifferentSteps) {
    TemporaryFolder folder;
    write_roles(folder.path(), evidence, 20);
    const RunSummary summary = read_summary(folder.path());
    EXPECT_EQ(roles_of(summary), std::vector<std::string>(4));
    EXPECT_FALSE(contains(to_text(summary), "role")) << to_text(summary);
    EXPECT_TRUE(nlohmann::json::parse(to_json(summary))["heads"][0]["role"].is_null());
}

TEST(SummaryRoles, NamesNoRolesFromSomeOfTheMetrics) {
    TemporaryFolder folder;
    write_roles(folder.path(), {evidence.begin(), evidence.end() - 1}, 10);
    EXPECT_EQ(roles_of(read_summary(folder.path())), std::vector<std::string>(4));
}

TEST(SummaryRoles, BreaksLongLines) {
    RunSummary summary;
    summary.run = "runs/x-s0";
    summary.state.logged = "running";
    summary.elapsed = nan;
    summary.train_step = summary.eval_step = -1;
    summary.overlap_null_mean = summary.overlap_null_std = nan;
    const std::array<double, 4> unknown{nan, nan, nan, nan};
    for (const std::string& role : role_names())
        for (std::int64_t head = 0; head < 12; ++head)
            summary.heads.push_back({0, head, unknown, unknown, unknown, nan, role});
    const std::string text = to_text(summary);
    expect_at_most_80_columns(text);
    EXPECT_TRUE(contains(text, "12 previous-token, 12 induction, 12 duplicate-token")) << text;
    EXPECT_TRUE(contains(text, "12 mixed.\n")) << text;
}

TEST(SummaryRoles, RefusesACodeThatStandsForNothing) {
    TemporaryFolder folder;
    Log log(RunPaths(folder.path()).log);
    log.set_attribute("state", std::string("finished"));
    log.set_attribute("seed", std::int64_t{4});
    log.set_text("/config/resolved", "[model]\nwindow = " + std::string("0") + "\n", "config");
    nn::TransformerOptions model;
    log.declare_metric(make_probe("role")->spec({model, 12, {}}), false);
    log.append_metric("role", 0, {1, 2, 3, 4, 5, 6, 8, 9});
    log.publish();
    EXPECT_THROW(read_summary(folder.path()), IoError);
}

}  // namespace
}  // namespace headscope::experiments::cli
