// What a summary says beside the metrics of the log: ablations, events, where a run comes from; and how wide it gets.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "experiments/cli/summary_text.h"
#include "experiments/cli/text_lines.h"
#include "experiments/probes/probe.h"
#include "experiments/storage/hdf5.h"
#include "experiments/storage/log.h"
#include "experiments/storage/run_folder.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments::cli {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

void expect_at_most_80_columns(const std::string& text) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(columns_of(line), 80u) << line;
}

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

TEST(SummaryExtras, ReadTheNewestAblation) {
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

TEST(SummaryExtras, AblationAloneMakesTheRows) {
    TemporaryFolder folder;
    Log log(RunPaths(folder.path()).log);
    log.set_attribute("state", std::string("finished"));
    log.set_attribute("seed", std::int64_t{4});
    log.set_attribute("run_id", std::string("0123"));
    log.publish();
    write_ablation(folder.path(), "0123");
    EXPECT_EQ(read_summary(folder.path()).heads.size(), 3u);
}

TEST(SummaryExtras, SayWhyAnAblationIsNotUsed) {
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

TEST(SummaryExtras, ShowTheNewestEvents) {
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

TEST(SummaryExtras, SayNothingOfEventsWithoutAny) {
    TemporaryFolder folder;
    start_log(folder.path())->publish();
    EXPECT_FALSE(contains(to_text(read_summary(folder.path())), "events"));
}

TEST(SummaryExtras, SayWhereARunComesFrom) {
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

TEST(SummaryExtras, EveryColumnTogetherFits80) {
    RunSummary summary;
    summary.run = "runs/x-s0";
    summary.state = "running";
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
