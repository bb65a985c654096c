// What the command line prints: progress, and a run's log in short.
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "experiments/cli/progress.h"
#include "experiments/cli/summary_text.h"
#include "experiments/cli/text_lines.h"
#include "experiments/probes/probe.h"
#include "experiments/storage/log.h"
#include "experiments/storage/run_folder.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments::cli {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Progress, SecondsAreReadable) {
    EXPECT_EQ(format_seconds(0), "0:00");
    EXPECT_EQ(format_seconds(7.4), "0:07");
    EXPECT_EQ(format_seconds(59.6), "1:00");
    EXPECT_EQ(format_seconds(3599), "59:59");
    EXPECT_EQ(format_seconds(10931), "3:02:11");
    EXPECT_EQ(format_seconds(nan), "-");
    EXPECT_EQ(format_seconds(std::numeric_limits<double>::infinity()), "-");
}

TEST(Progress, BarFitsAnyWidth) {
    const Progress progress{1200, 2000, 1.67714, 84123.0, 42.0};
    for (int width = 0; width < 200; ++width)
        EXPECT_LE(progress_bar(progress, width).size(), static_cast<std::size_t>(width));
    const std::string wide = progress_bar(progress, 120);
    for (const char* part :
         {"1200/2000", "loss 1.6771", "84.1k tokens/s", "0:42 left", "[########################....."})
        EXPECT_TRUE(contains(wide, part)) << part << " in " << wide;
    EXPECT_TRUE(contains(progress_bar(progress, 40), "loss 1.6771"));
    EXPECT_FALSE(contains(progress_bar(progress, 40), "["));
}

TEST(Progress, BarIsFullAtTheEnd) {
    EXPECT_FALSE(contains(progress_bar({2000, 2000, 1, 1, 0}, 100), ".]"));
    EXPECT_TRUE(contains(progress_bar({0, 0, 1, 1, 0}, 100), "#]"));
}

TEST(Progress, FileGetsWholeLinesOnly) {
    TemporaryFolder folder;
    const std::string path = folder.path() + "/progress";
    std::FILE* file = std::fopen(path.c_str(), "w");
    {
        ProgressPrinter printer(file);
        for (std::int64_t step = 1; step < 1000; ++step) printer.update(Progress{step, 1000, 2.5, 100, 10});
        printer.line("step 200: done");
    }
    std::fclose(file);
    EXPECT_EQ(read_file(path), "step 200: done\n");  // the first line of progress comes after 30 s
}

TEST(Progress, TerminalIsLeftClean) {
    setenv("TERM", "xterm", 1);
    int screen = 0, terminal = 0;
    winsize size{};
    size.ws_col = 60;
    ASSERT_EQ(openpty(&screen, &terminal, nullptr, nullptr, &size), 0);
    std::FILE* stream = fdopen(terminal, "w");
    {
        ProgressPrinter printer(stream);
        printer.update(Progress{1, 1000, 2.5, 100, 10});  // too early: nothing yet
        std::this_thread::sleep_for(std::chrono::milliseconds(220));
        printer.update(Progress{2, 1000, 2.5, 100, 10});
        printer.update(Progress{3, 1000, 2.5, 100, 10});
    }
    std::string text;  // it comes in as many pieces as were written
    pollfd waiting{screen, POLLIN, 0};
    while (!text.ends_with("\r\x1b[K") && poll(&waiting, 1, 5000) > 0) {
        char buffer[4096];
        const ssize_t count = read(screen, buffer, sizeof buffer);
        ASSERT_GT(count, 0);
        text.append(buffer, static_cast<std::size_t>(count));
    }
    EXPECT_TRUE(contains(text, "2/1000"));
    EXPECT_FALSE(contains(text, "1/1000"));
    EXPECT_FALSE(contains(text, "3/1000"));
    const std::string erased = "\r\x1b[K";
    ASSERT_GE(text.size(), erased.size());
    EXPECT_EQ(text.substr(text.size() - erased.size()), erased);
    const std::size_t end = text.find("\x1b[K");
    EXPECT_LE(end, 60u);  // the return and 59 columns
    std::fclose(stream);
    close(screen);
}

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

TEST(Summary, ReadsTheNewestRows) {
    TemporaryFolder folder;
    write_log(folder.path(), true);
    const RunSummary summary = read_summary(folder.path());
    EXPECT_EQ(summary.state, "finished");
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
    EXPECT_NEAR(head.overlap_z[1], (0.5 - 0.4) / (null_std / std::sqrt(2.0)), 1e-5);
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

void expect_at_most_80_columns(const std::string& text) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(columns_of(line), 80u) << line;
}

TEST(Summary, SaysWhatTheHeadsDid) {
    TemporaryFolder folder;
    write_log(folder.path(), true);
    RunSummary summary = read_summary(folder.path());
    summary.run = "runs/x-s4";
    const std::string text = to_text(summary);
    expect_at_most_80_columns(text);
    for (const char* part :
         {"finished at step 20, seed 4, 1:15 of training\n\n",
          "      gradient norm      overlap  attention\n"
          "head     now history           z    entropy\n"
          "           1                   1        nat\n"
          "0.0   0.0374 █▁            -2.6q      1.000\n",
          "0.2   0.1913 █▁            -2.6q      1.500\n",
          // As wide as the longest name.
          "  training batch            1.5000   step 10\n",
          "  evaluation                1.2500   step 20, accuracy 0.625\n",
          "  floor both                1.0758   0.1742 below the run's loss\n",
          "  floor none                2.7726   1.5226 above the run's loss\n",
          "  reference neighbourhood   1.2000   0.0500 below the run's loss\n",
          "strongest gradient is head 1.1's, on W_v: 123.46", "Heads 0.0 and 0.2 overlap most, in W_k: 0.750, z = +",
          "Two random heads would overlap by 0.400", "Head 0.1 attends most sharply (0.500 nat), head 1.0 most widely"})
        EXPECT_TRUE(contains(text, part)) << part << " in\n" << text;
}

TEST(Summary, TableHoldsExtremeValues) {
    RunSummary summary;
    summary.run = "runs/x-s0";
    summary.state = "running";
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
    EXPECT_TRUE(contains(to_text(summary), "+999q")) << to_text(summary);
}

TEST(Summary, IsAlsoJson) {
    TemporaryFolder folder;
    write_log(folder.path(), true);
    const auto json = nlohmann::json::parse(to_json(read_summary(folder.path())));
    EXPECT_EQ(json["state"], "finished");
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

TEST(Summary, WorksWithoutMetrics) {
    TemporaryFolder folder;
    write_log(folder.path(), false);
    const std::string text = to_text(read_summary(folder.path()));
    EXPECT_TRUE(contains(text, "[log.probes]")) << text;
    EXPECT_FALSE(contains(text, "gradient norm")) << text;
}

TEST(Summary, NamesWhatIsMissing) {
    TemporaryFolder folder;
    EXPECT_THROW(read_summary(folder.path() + "/nowhere"), UsageError);
    EXPECT_THROW(read_summary(folder.path()), UsageError);
}

}  // namespace
}  // namespace headscope::experiments::cli
