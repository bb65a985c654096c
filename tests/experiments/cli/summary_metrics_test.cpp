// Metrics that the table of heads has no column for: those of an own probe among them.
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "experiments/cli/summary_text.h"
#include "experiments/storage/log.h"
#include "experiments/storage/run_folder.h"
#include "tests/experiments/temporary_folder.h"
#include "tests/experiments/text_checks.h"

namespace headscope::experiments::cli {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/// A metric that no probe of ours measures.
MetricSpec own(const std::string& name, const std::vector<Dimension>& dimensions) {
    return {.name = name,
            .long_name = "what it is",
            .units = "nat",
            .formula = "f",
            .source = "test",
            .invariance = "none",
            .dimensions = dimensions,
            .null_mean = 0.5,
            .null_std = 0.25};
}

/// One layer of two heads. Newest rows at step 4 but for `calm`, whose newest is at 2.
RunSummary summary_in(const std::string& folder, std::int64_t heads = 2) {
    const Dimension layer{"layer", 1, {}}, head{"head", heads, {}}, other{"head_other", heads, {}};
    Log log(RunPaths(folder).log);
    log.set_attribute("state", std::string("finished"));
    log.set_attribute("seed", std::int64_t{4});
    log.set_text("/config/resolved", "", "config");
    MetricSpec mood = own("mood", {layer, head});
    mood.value_labels = {"quiet", "loud"};
    const auto filled = [&](std::int64_t per_head) {
        return std::vector<double>(static_cast<std::size_t>(heads * per_head), 3);
    };
    const auto append = [&](const MetricSpec& spec, std::vector<double> newest, std::int64_t per_head) {
        log.declare_metric(spec, true);
        log.append_metric(spec.name, 2, filled(per_head));
        log.append_metric(spec.name, 4, heads == 2 ? std::move(newest) : filled(per_head));
    };
    append(mood, {1, 0}, 1);
    append(own("very_own_score", {{"class", 2, {"near", "far"}}, layer, head}), {.125, -2.5, 1e-9, nan}, 2);
    append(own("likeness", {layer, head, other}), {1, .25, .75, 1}, heads);
    append(own("profile", {layer, head, {"lag", 9, {}}}), {0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, nan}, 9);
    log.declare_metric(own("calm", {layer, head}), true);
    log.append_metric("calm", 2, filled(1));
    log.declare_metric(own("never", {layer, head}), true);
    log.publish();
    return read_summary(folder);
}

TEST(SummaryMetrics, HaveAColumnForEachNumberOfAHead) {
    TemporaryFolder folder;
    const std::string text = to_text(summary_in(folder.path()));
    expect_at_most_80_columns(text);
    EXPECT_TRUE(contains(text,
                         "\n"
                         "                              very_own  very_own\n"
                         "                                 score     score\n"
                         "head   calm  likeness   mood      near       far\n"
                         "0.0       3      0.25   loud     0.125     1e-09\n"
                         "0.1       3      0.75  quiet      -2.5         -\n"
                         "\n"
                         "Metrics of pairs of heads: the mean over the layer's other heads.\n"
                         "\n"
                         "other metrics, each with its range (--json has every number)\n"
                         "  profile [layer 1, head 2, lag 9]: 0 to 8, mean 2.118\n"))
        << text;
    EXPECT_FALSE(contains(text, "never")) << text;
}

TEST(SummaryMetrics, OfManyHeadsShowTheirRanges) {
    TemporaryFolder folder;
    const std::string text = to_text(summary_in(folder.path(), 33));
    expect_at_most_80_columns(text);
    EXPECT_TRUE(contains(text, "\n  calm [layer 1, head 33]: 3 to 3, mean 3\n")) << text;
    EXPECT_TRUE(contains(text, "\n  very_own_score [class 2, layer 1, head 33]: 3 to 3, mean 3\n")) << text;
}

TEST(SummaryMetrics, AreAllInTheJson) {
    TemporaryFolder folder;
    const auto metrics = nlohmann::json::parse(to_json(summary_in(folder.path()))).at("metrics");
    EXPECT_EQ(metrics.size(), 5U);
    EXPECT_EQ(metrics["mood"]["values"], nlohmann::json::parse(R"([["loud", "quiet"]])"));
    EXPECT_EQ(metrics["calm"]["step"], 2);
    const auto& score = metrics["very_own_score"];
    EXPECT_EQ(score["step"], 4);
    EXPECT_EQ(score["units"], "nat");
    EXPECT_EQ(score["null_mean"], .5);
    EXPECT_EQ(score["dimensions"][0], (nlohmann::json{{"name", "class"}, {"size", 2}, {"labels", {"near", "far"}}}));
    EXPECT_EQ(score["dimensions"][2], (nlohmann::json{{"name", "head"}, {"size", 2}}));
    EXPECT_EQ(score["values"], nlohmann::json::parse("[[[0.125, -2.5]], [[1e-09, null]]]"));
    EXPECT_EQ(metrics["profile"]["values"][0][0][8], 8);
}

}  // namespace
}  // namespace headscope::experiments::cli
