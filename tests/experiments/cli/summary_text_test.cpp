// What a run's log says in short: the numbers read, and the text and JSON made of them.
#include "experiments/cli/summary_text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "experiments/base/errors.h"
#include "experiments/base/file_replacement.h"
#include "experiments/base/files.h"
#include "experiments/probes/probe.h"
#include "experiments/storage/hdf5.h"
#include "experiments/storage/log.h"
#include "experiments/storage/run_folder.h"
#include "tests/experiments/temporary_folder.h"
#include "tests/experiments/text_checks.h"

namespace headscope::experiments::cli {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/// A finished run of 2 layers of 3 heads in `folder`, with every metric or none.
void write_log(const std::string& folder, bool with_metrics) {
    Log log(RunPaths(folder).log);
    log.set_attribute("state", std::string("finished"));
    log.set_attribute("seed", std::int64_t{4});
    log.declare_series("train", {{"loss", "nat/token", "loss"}, {"elapsed", "s", "time"}});
    log.declare_series("eval", {{"loss", "nat/token", "loss"}, {"accuracy", "1", "accuracy"}});
    log.append("train", 0, {3.0, 0.1});
    log.append("train", 10, {1.5, 75.0});
    log.append("eval", 20, {1.25, 0.625});
    log.set_number("/task/floors/both", 1.0758, "nat", "floor");
    log.set_number("/task/floors/none", 2.7726, "nat", "floor");
    log.set_number("/task/references/neighbourhood", 1.2, "nat", "reference");
    if (with_metrics) {
        nn::TransformerOptions model;
        model.block.d_model = 10;
        model.block.num_heads = 3;
        model.block.head_dim = 4;
        for (const char* name : {"grad_norm", "overlap", "attention_entropy"})
            log.declare_metric(make_probe(name)->spec({model, 12, {}}), false);
        std::vector<double> norms(24), overlaps(72, 0.25), entropies{1, 0.5, 1.5, 2, 0.75, 1.25};
        for (std::size_t i = 0; i < norms.size(); ++i) norms[i] = 0.01 * static_cast<double>(i);
        norms[(1 * 3 + 1) * 4 + 2] = 123.456;  // layer 1, head 1, W_v
        for (std::size_t matrix = 0; matrix < 8; ++matrix)
            for (std::size_t head = 0; head < 3; ++head) overlaps[matrix * 9 + head * 4] = 1;
        overlaps[(0 * 4 + 1) * 9 + 0 * 3 + 2] = overlaps[(0 * 4 + 1) * 9 + 2 * 3 + 0] = 0.75;  // layer 0, W_k, 0 and 2
        log.append_metric("grad_norm", 0, std::vector<double>(24, 77.0));                      // an older row
        log.append_metric("grad_norm", 10, norms);
        log.append_metric("overlap", 10, overlaps);
        log.append_metric("attention_entropy", 10, entropies);
    }
    log.publish();
}

TEST(SummaryText, ReadsTheNewestRows) {
    TemporaryFolder folder;
    write_log(folder.path(), true);
    const RunSummary summary = read_summary(folder.path());
    EXPECT_EQ(summary.state.logged, "finished");
    EXPECT_EQ(summary.seed, 4);
    EXPECT_EQ(summary.step, 20);
    EXPECT_EQ(summary.train_step, 10);
    EXPECT_EQ(summary.train_loss, 1.5);
    EXPECT_EQ(summary.eval_loss, 1.25);
    EXPECT_EQ(summary.eval_accuracy, 0.625);
    ASSERT_EQ(summary.floors.size(), 2u);
    EXPECT_EQ(summary.floors[0].name, "both");
    ASSERT_EQ(summary.references.size(), 1u);
    EXPECT_EQ(summary.references[0].name, "neighbourhood");
    EXPECT_EQ(summary.references[0].loss, 1.2);
    ASSERT_EQ(summary.heads.size(), 6u);
    const HeadRow& head = summary.heads[2];  // layer 0, head 2
    EXPECT_EQ(head.layer, 0);
    EXPECT_EQ(head.head, 2);
    EXPECT_NEAR(head.grad_norm[3], 0.11, 1e-6);
    EXPECT_NEAR(head.overlap[1], 0.5, 1e-6);  // mean of .75 and .25
    const double null_std = std::sqrt(2.0) * 6 / (10 * std::sqrt(9.0 * 12));
    EXPECT_NEAR(head.overlap_z[1], (0.5 - 0.4) / null_std, 1e-5);
    EXPECT_NEAR(head.overlap[0], 0.25, 1e-6);
    EXPECT_NEAR(head.entropy, 1.5, 1e-6);
    const double now = 0.01 * std::sqrt(8. * 8 + 9 * 9 + 10 * 10 + 11 * 11);
    EXPECT_NEAR(head.grad_norm_total, now, 1e-7);
    EXPECT_EQ(summary.grad_norm_steps, (std::vector<std::int64_t>{0, 10}));
    ASSERT_EQ(head.grad_norm_history.size(), 2u);
    EXPECT_NEAR(head.grad_norm_history[0], 154, 1e-9);  // four times 77
    EXPECT_NEAR(head.grad_norm_history[1], now, 1e-7);
    ASSERT_EQ(summary.top_pair.size(), 1u);
    EXPECT_EQ(summary.top_pair[0].layer, 0);
    EXPECT_EQ(summary.top_pair[0].head, 0);
    EXPECT_EQ(summary.top_pair[0].other, 2);
    EXPECT_EQ(summary.top_pair[0].projection, 1u);
    EXPECT_NEAR(summary.top_pair[0].z, (0.75 - 0.4) / null_std, 1e-5);
}

TEST(SummaryText, SaysWhatTheHeadsDid) {
    TemporaryFolder folder;
    write_log(folder.path(), true);
    RunSummary summary = read_summary(folder.path());
    summary.run = "runs/x-s4";
    const std::string text = to_text(summary);
    expect_at_most_80_columns(text);
    for (const char* part :
         {"finished at step 20, seed 4, 1:15 of training\n\n",
          "      gradient norm            overlap  attention\n"
          "head     now history        mean     z    entropy\n"
          "           1                   1     1        nat\n"
          "0.0   0.0374 █▁          q 0.250  -1.8      1.000\n",
          "0.2   0.1913 █▁          q 0.250  -1.8      1.500\n",
          // As wide as the longest name.
          "  training batch            1.5000   step 10\n",
          "  evaluation                1.2500   step 20, accuracy 0.625\n",
          "  floor both                1.0758   0.1742 below the run's loss\n",
          "  floor none                2.7726   1.5226 above the run's loss\n",
          "  reference neighbourhood   1.2000   0.0500 below the run's loss\n",
          "strongest gradient is head 1.1's, on W_v: 123.46", "Heads 0.0 and 0.2 overlap most, in W_k: 0.750, z = +",
          "Two of those overlap by 0.400 +- 0.082", "Head 0.1 attends most sharply (0.500 nat), head 1.0 most widely"})
        EXPECT_TRUE(contains(text, part)) << part << " in\n" << text;
}

TEST(SummaryText, SaysWhereNoTargetWasScored) {
    RunSummary summary;
    summary.run = "runs/x-s0";
    summary.state.logged = "finished";
    summary.elapsed = 1;
    summary.train_loss = summary.eval_loss = summary.eval_accuracy = nan;
    summary.train_step = summary.eval_step = 10;
    summary.overlap_null_mean = summary.overlap_null_std = nan;
    summary.floors = {{"both", 1.5}};
    const std::string text = to_text(summary);
    for (const char* part :
         {"  training batch        -   step 10, no target is scored\n",
          "  evaluation            -   step 10, no target is scored\n", "  floor both       1.5000\n"})
        EXPECT_TRUE(contains(text, part)) << part << " in\n" << text;
    EXPECT_TRUE(nlohmann::json::parse(to_json(summary))["train"]["loss"].is_null());
}

TEST(SummaryText, TableHoldsExtremeValues) {
    RunSummary summary;
    summary.run = "runs/x-s0";
    summary.state.logged = "running";
    summary.elapsed = summary.train_loss = summary.eval_loss = summary.eval_accuracy = nan;
    summary.train_step = summary.eval_step = -1;
    summary.overlap_null_mean = summary.overlap_null_std = nan;
    const double huge = 1e30, tiny = 1e-30, infinity = std::numeric_limits<double>::infinity();
    summary.heads = {{11, 95, {huge, tiny, nan, infinity}, {1, 0.996, nan, 0}, {huge, -huge, nan, nan}, 12.345},
                     {11, 96, {999.99, 0.00099, 9.99999, 0}, {1, 1, 1, 0.5}, {9.96, -9.96, infinity, 0}, nan}};
    expect_at_most_80_columns(to_text(summary));
    const auto json = nlohmann::json::parse(to_json(summary));
    EXPECT_TRUE(json["heads"][0]["grad_norm"]["v"].is_null());
    EXPECT_EQ(json["heads"][1]["head"], 96);
    EXPECT_TRUE(contains(to_text(summary), "q 1.000  +999     12.345")) << to_text(summary);
}

TEST(SummaryText, IsAlsoJson) {
    TemporaryFolder folder;
    write_log(folder.path(), true);
    const auto json = nlohmann::json::parse(to_json(read_summary(folder.path())));
    EXPECT_EQ(json["state"], "finished");
    EXPECT_EQ(json["alive"], false);
    EXPECT_EQ(json["eval"]["loss"], 1.25);
    EXPECT_EQ(json["floors"]["none"], 2.7726);
    EXPECT_EQ(json["references"], (nlohmann::json{{"neighbourhood", 1.2}}));
    EXPECT_EQ(json["heads"].size(), 6u);
    EXPECT_NEAR(json["heads"][4]["grad_norm"]["v"].get<double>(), 123.456, 1e-4);
    EXPECT_FALSE(json["sentences"].empty());
    EXPECT_EQ(json["heads"][4]["grad_norm_history"]["step"], (nlohmann::json{0, 10}));
    EXPECT_EQ(json["heads"][4]["grad_norm_history"]["value"][0], 154);
    EXPECT_EQ(json["heads"][4]["grad_norm_history"]["value"][1], json["heads"][4]["grad_norm_total"]);
    for (const char* key : {"ablation", "importance", "attention_distance"})
        EXPECT_TRUE(json["heads"][4].at(key).is_null()) << key;
    EXPECT_TRUE(json.at("lineage").is_null());
    EXPECT_EQ(json.at("events"), nlohmann::json::array());
}

TEST(SummaryText, WorksWithoutMetrics) {
    TemporaryFolder folder;
    write_log(folder.path(), false);
    const std::string text = to_text(read_summary(folder.path()));
    EXPECT_TRUE(contains(text, "[log.probes]")) << text;
    EXPECT_FALSE(contains(text, "gradient norm")) << text;
}

TEST(SummaryText, NamesWhatIsMissing) {
    TemporaryFolder folder;
    EXPECT_THROW(read_summary(folder.path() + "/nowhere"), UsageError);
    EXPECT_THROW(read_summary(folder.path()), UsageError);
}

// What is said beside the metrics: ablations, events, where a run comes from.

/// A log of one layer of three heads that holds their importance; not published yet.
std::unique_ptr<Log> start_log(const std::string& folder) {
    auto log = std::make_unique<Log>(RunPaths(folder).log);
    log->set_attribute("state", std::string("finished"));
    log->set_attribute("seed", std::int64_t{4});
    log->set_attribute("run_id", std::string("0123"));
    nn::TransformerOptions model;
    model.block.num_heads = 3;
    model.num_layers = 1;
    log->declare_metric(make_probe("importance")->spec({model, 12, {}}), false);
    log->append_metric("importance", 5, {0.25, 0.5, 0.125});
    return log;
}

/// Steps 20 and 10, in this order; deltas 0.5, 1, 1.5, ... from step 20's first head on.
void write_ablation(const std::string& folder, const std::string& run_id, std::int64_t heads = 3) {
    hdf5::File file = hdf5::File::create_in_memory();
    file.set_attribute("/", "run_id", run_id);
    std::vector<double> deltas(static_cast<std::size_t>(2 * heads * 3));
    for (std::size_t i = 0; i < deltas.size(); ++i) deltas[i] = 0.5 * static_cast<double>(i + 1);
    file.write<std::int64_t>("/step", {2}, std::vector<std::int64_t>{20, 10});
    file.write<double>("/delta", {2, 1, heads, 3}, deltas);
    write_file_atomically(folder + "/ablation.h5", file.image());
}

TEST(SummaryText, ReadTheNewestAblation) {
    TemporaryFolder folder;
    start_log(folder.path())->publish();
    write_ablation(folder.path(), "0123");
    const RunSummary summary = read_summary(folder.path());
    EXPECT_EQ(summary.ablation_step, 20);
    EXPECT_EQ(summary.heads[1].ablation, (std::array{2.0, 2.5, 3.0}));
    const std::string text = to_text(summary);
    EXPECT_TRUE(contains(text,
                         "      importance  ablation\n"
                         "head                 delta\n"
                         "             nat       nat\n"
                         "0.0       0.2500   +0.5000\n"
                         "0.1       0.5000   +2.0000\n"))
        << text;
    EXPECT_TRUE(contains(text, "The loss needs head 0.2 most: +3.5000 nat with its output zero (step 20).")) << text;
    const auto json = nlohmann::json::parse(to_json(summary));
    EXPECT_EQ(json["heads"][2]["ablation"],
              (nlohmann::json{{"step", 20}, {"zero", 3.5}, {"mean", 4}, {"resample", 4.5}}));
    EXPECT_EQ(json["heads"][2]["importance"], 0.125);
}

TEST(SummaryText, AblationAloneMakesTheRows) {
    TemporaryFolder folder;
    Log log(RunPaths(folder.path()).log);
    log.set_attribute("state", std::string("finished"));
    log.set_attribute("seed", std::int64_t{4});
    log.set_attribute("run_id", std::string("0123"));
    log.publish();
    write_ablation(folder.path(), "0123");
    EXPECT_EQ(read_summary(folder.path()).heads.size(), 3u);
}

TEST(SummaryText, SayWhyAnAblationIsNotUsed) {
    TemporaryFolder folder;
    start_log(folder.path())->publish();
    const auto expect_note = [&](const std::string& words) {
        const RunSummary summary = read_summary(folder.path());
        EXPECT_EQ(summary.ablation_step, -1);
        const std::string text = to_text(summary);
        EXPECT_TRUE(contains(text, words)) << text;
        EXPECT_FALSE(contains(text, "delta\n")) << text;
        expect_at_most_80_columns(text);
        EXPECT_TRUE(nlohmann::json::parse(to_json(summary))["heads"][0]["ablation"].is_null());
    };
    write_ablation(folder.path(), "4567");
    expect_note("ablation.h5 is of another run.");
    write_ablation(folder.path(), "0123", 4);
    expect_note("ablation.h5 cannot be used");
    std::ofstream(folder.path("ablation.h5")) << "no HDF5";
    expect_note("ablation.h5 cannot be used");
    write_ablation(folder.path(), "0123");
    std::string bytes = read_file(folder.path("ablation.h5"));
    bytes.resize(bytes.size() / 2);
    std::ofstream(folder.path("ablation.h5"), std::ios::binary) << bytes;
    expect_note("ablation.h5 cannot be used");
}

TEST(SummaryText, ShowTheNewestEvents) {
    TemporaryFolder folder;
    const std::unique_ptr<Log> log = start_log(folder.path());
    for (std::int64_t step = 1; step <= 11; ++step)
        log->event(step, "best", step == 11 ? "a\nlong " + std::string(100, 'x') : "evaluation loss");
    log->publish();
    const RunSummary summary = read_summary(folder.path());
    const std::string text = to_text(summary);
    EXPECT_TRUE(contains(text, "\nevents, the newest 8; 3 before them are left out\n  step 4  best  evaluation loss\n"))
        << text;
    EXPECT_TRUE(contains(text, "  step 11  best  a long\n    xxx")) << text;
    EXPECT_FALSE(contains(text, "step 3  best")) << text;
    expect_at_most_80_columns(text);
    const auto json = nlohmann::json::parse(to_json(summary));
    ASSERT_EQ(json["events"].size(), 11u);
    EXPECT_EQ(json["events"][0]["step"], 1);
    EXPECT_EQ(json["events"][0]["kind"], "best");
    EXPECT_GT(json["events"][0]["time"], 1'600'000'000);
    EXPECT_EQ(json["events"][10]["message"], "a\nlong " + std::string(100, 'x'));
}

TEST(SummaryText, SayNothingOfEventsWithoutAny) {
    TemporaryFolder folder;
    start_log(folder.path())->publish();
    EXPECT_FALSE(contains(to_text(read_summary(folder.path())), "events"));
}

TEST(SummaryText, SayWhereARunComesFrom) {
    TemporaryFolder folder;
    const std::unique_ptr<Log> log = start_log(folder.path());
    log->set_attribute("lineage", std::string("fork"));
    log->publish();
    EXPECT_TRUE(contains(to_text(read_summary(folder.path())), "\nfork\n"));  // the others are optional

    log->set_attribute("parent", std::filesystem::current_path().string() + "/runs/x");
    log->set_attribute("parent_run_id", std::string("89ab"));
    log->set_attribute("parent_step", std::int64_t{500});
    log->set_attribute("changes", std::string("optimizer.lr=1e-4"));
    log->publish();
    const RunSummary summary = read_summary(folder.path());
    const std::string text = to_text(summary);
    EXPECT_TRUE(contains(text, "\nfork of runs/x at step 500 with optimizer.lr=1e-4\n")) << text;
    const auto json = nlohmann::json::parse(to_json(summary))["lineage"];
    EXPECT_EQ(json["kind"], "fork");
    EXPECT_EQ(json["parent_run_id"], "89ab");
    EXPECT_EQ(json["parent_step"], 500);
    EXPECT_EQ(json["changes"], "optimizer.lr=1e-4");
}

TEST(SummaryText, EveryColumnTogetherFits80) {
    RunSummary summary;
    summary.run = "runs/x-s0";
    summary.state.logged = "running";
    summary.elapsed = nan;
    summary.train_step = summary.eval_step = -1;
    summary.overlap_null_mean = summary.overlap_null_std = nan;
    summary.ablation_step = 1'000'000;
    HeadRow row{11, 95, {1, 2, 3, 4}, {}, {nan, -1234, 5, nan}, 12.345, "duplicate-token"};
    row.grad_norm_total = 999.99;
    row.grad_norm_history = std::vector<double>(25, 1.0);
    row.distance = 1023.4;
    row.importance = 12.34;
    row.ablation = {-999.999, 1, 1};
    summary.heads = {row};
    const std::string text = to_text(summary);
    expect_at_most_80_columns(text);
    const std::string table =
        "                      gradient norm   overlap attention   importance ablation\n"
        "head  role               now history        z entropy distance          delta\n"
        "                           1                1     nat   tokens   nat      nat\n"
        "11.95 duplicate-token 999.99 ██████████ -999k  12.345  1023.40 12.34 -1000.00\n";
    EXPECT_TRUE(contains(text, table)) << text;
    row.ablation = {nan, nan, nan};
    row.layer = 3;
    row.role = "local";
    summary.heads = {row, row};
    summary.heads[0].importance = nan;
    EXPECT_TRUE(contains(to_text(summary), "         -\n")) << to_text(summary);
    EXPECT_FALSE(contains(to_text(summary), "ablation")) << to_text(summary);
}

}  // namespace
}  // namespace headscope::experiments::cli
