// Heads found by a condition, in logs written by hand: two layers of three heads.
#include "experiments/analysis/find_heads.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "experiments/cli/find_text.h"
#include "experiments/probes/roles.h"
#include "experiments/storage/log.h"
#include "experiments/storage/run_folder.h"
#include "tests/experiments/temporary_folder.h"
#include "tests/experiments/text_checks.h"

namespace headscope::experiments {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

MetricSpec metric_of(const std::string& name, std::vector<Dimension> dimensions) {
    return {.name = name,
            .long_name = "the " + name,
            .units = "1",
            .formula = "f",
            .source = "s",
            .invariance = "none",
            .dimensions = std::move(dimensions)};
}

const Dimension layer{"layer", 2, {}}, head{"head", 3, {}}, other{"head_other", 3, {}},
    projection{"projection", 4, {"q", "k", "v", "o"}};

struct Sample {
    std::int64_t seed = 4;
    std::string config =
        "[model]\nnum_layers = 2\nnum_heads = 3\ncausal = true\nposition = \"learned\"\n"
        "[optimizer]\ntype = \"adam\"\nlr = 0.5\n[task]\ntype = \"repeat\"\n[log.probes]\nsharp = 10\n";
    bool sharp = true;
};

/// A run. At step s:
///   role     [L, H]           induction for head 1.2 at steps 10 and 20, else unclear; at 0, 10, 20, 30
///   sharp    [L, H]           s + 100 l + 10 h, NaN for head 0.1 at step 20;            at 0, 5, 10, ..., 30
///   norm     [class, L, H, 4] s + class + 10 l + projection;                            at 0, 20
///   overlap  [L, 4, H, H]     100 at [h, h], else j + projection / 10, head 2 in layer 0 has NaN; at 0, 10
///   layered  [L, 2]           l + s, then 5;                                            at 30
std::string write_run(const TemporaryFolder& parent, const std::string& name, const Sample& sample = {}) {
    const std::string folder = parent.path(name);
    make_folders(folder);
    Log log(RunPaths(folder).log);
    log.set_attribute("state", std::string("finished"));
    log.set_attribute("seed", sample.seed);
    log.set_attribute("run_id", "id-" + name);
    log.set_text("/config/resolved", sample.config, "config");
    log.declare_series("train", {{"loss", "nat/token", "training loss"}});
    log.append("train", 30, {1});
    MetricSpec role = metric_of("role", {layer, head});
    role.value_labels = role_names();
    log.declare_metric(role, true);
    const auto induction = static_cast<double>(Role::induction), unclear = static_cast<double>(Role::unclear);
    for (const std::int64_t step : {0, 10, 20, 30}) {
        std::vector<double> row(6, unclear);
        if (step == 10 || step == 20) row[5] = induction;
        log.append_metric("role", step, row);
    }
    if (sample.sharp) log.declare_metric(metric_of("sharp", {layer, head}), true);
    for (std::int64_t step = 0; sample.sharp && step <= 30; step += 5) {
        const auto s = static_cast<double>(step);
        log.append_metric("sharp", step, {s, step == 20 ? nan : s + 10, s + 20, s + 100, s + 110, s + 120});
    }
    log.declare_metric(metric_of("norm", {{"class", 2, {"near", "far off"}}, layer, head, projection}), true);
    for (const std::int64_t step : {0, 20}) {
        std::vector<double> row;
        for (int c = 0; c < 2; ++c)
            for (int l = 0; l < 2; ++l)
                for (int h = 0; h < 3; ++h)
                    for (int p = 0; p < 4; ++p) row.push_back(static_cast<double>(step) + c + 10 * l + p);
        log.append_metric("norm", step, row);
    }
    log.declare_metric(metric_of("overlap", {layer, projection, head, other}), true);
    for (const std::int64_t step : {0, 10}) {
        std::vector<double> row;
        for (int l = 0; l < 2; ++l)
            for (int p = 0; p < 4; ++p)
                for (int i = 0; i < 3; ++i)
                    for (int j = 0; j < 3; ++j) {
                        const bool lost = l == 0 && (i == 2 || j == 2);
                        row.push_back(lost ? nan : i == j ? 100 : j + p / 10.0);
                    }
        log.append_metric("overlap", step, row);
    }
    log.declare_metric(metric_of("layered", {layer, {"statistic", 2, {"mean", "z"}}}), true);
    log.append_metric("layered", 30, {30, 5, 31, 5});
    log.publish();
    return folder;
}

struct FindHeads : testing::Test {
    TemporaryFolder parent;
    std::string run = write_run(parent, "a");

    FoundHeads find(const std::string& condition) const { return find_heads({{run}, {}}, condition); }
    /// "layer.head first..last rows end".
    std::vector<std::string> found(const std::string& condition) const {
        std::vector<std::string> lines;
        const FoundHeads all = find(condition);
        for (const FoundHead& head : all.runs.at(0).found)
            lines.push_back(std::to_string(head.layer) + "." + std::to_string(head.head) + " " +
                            std::to_string(head.first) + ".." + std::to_string(head.last) + " " +
                            std::to_string(head.rows) + (head.at_end ? " end" : ""));
        return lines;
    }
    std::string error_of(const std::string& condition) const {
        try {
            find(condition);
        } catch (const UsageError& error) {
            return error.what();
        }
        ADD_FAILURE() << condition << " is taken";
        return {};
    }
};

using Lines = std::vector<std::string>;

TEST_F(FindHeads, ByRoleAndStep) {
    EXPECT_EQ(found("role == 'induction'"), Lines{"1.2 10..20 2"});
    EXPECT_EQ(found("role == 'induction' and step > 10"), Lines{"1.2 20..20 1"});
    EXPECT_EQ(found("role == 'induction' and step < 10"), Lines{});
    EXPECT_EQ(found("role != 'induction' and layer == 1 and head == 2"), (Lines{"1.2 0..30 2 end"}));
    EXPECT_EQ(found("role == 'unclear' and layer == 1"),
              (Lines{"1.0 0..30 4 end", "1.1 0..30 4 end", "1.2 0..30 2 end"}));
}

TEST_F(FindHeads, LooksAtTheStepsThatAllMetricsHave) {
    EXPECT_EQ(found("sharp >= 30 and layer == 0"), (Lines{"0.0 30..30 1 end", "0.1 25..30 2 end", "0.2 10..30 5 end"}));
    EXPECT_EQ(found("sharp >= 20 and role == 'unclear' and layer == 0 and head == 0"), Lines{"0.0 20..30 2 end"});
    const FoundHeads both = find("sharp >= 100 and role == 'unclear'");
    EXPECT_EQ(both.runs[0].steps, (std::vector<std::int64_t>{0, 10, 20, 30}));
    EXPECT_EQ(both.metrics, (std::vector<std::string>{"sharp", "role"}));
    EXPECT_EQ(both.runs[0].rows, (std::vector<std::int64_t>{7, 4}));
    EXPECT_EQ(both.runs[0].found[2].rows, 2);
    EXPECT_EQ(find("norm[near, q] > 0 and sharp > 0 and role == 'unclear'").runs[0].steps,
              (std::vector<std::int64_t>{0, 20}));
}

TEST_F(FindHeads, NanIsNotFound) {
    EXPECT_EQ(found("sharp > 0 and layer == 0 and head == 1"), Lines{"0.1 0..30 6 end"});  // of seven rows
    EXPECT_EQ(found("sharp != 1e9 and layer == 0 and head == 1"), Lines{"0.1 0..30 6 end"});
}

TEST_F(FindHeads, TakesOneOfSeveralNumbers) {
    EXPECT_EQ(found("norm[near, q] == 0"), (Lines{"0.0 0..0 1", "0.1 0..0 1", "0.2 0..0 1"}));
    EXPECT_EQ(found("norm[far off, o] == 34 and head == 1"), Lines{"1.1 20..20 1 end"});
    EXPECT_EQ(found("norm['far off', o] == 4 and head == 0"), Lines{"0.0 0..0 1"});
    EXPECT_EQ(found("norm[near, k] > norm[near, v]"), Lines{});
    EXPECT_EQ(found("norm[near, k] < norm[near, v] and layer == 0 and head == 2"), Lines{"0.2 0..20 2 end"});
}

TEST_F(FindHeads, TakesTheMeanOverTheOtherHeads) {
    // Of layer 1, projection k: (1.1 + 2.1) / 2, (0.1 + 2.1) / 2, (0.1 + 1.1) / 2; of layer 0 head 2 is left out.
    EXPECT_EQ(found("overlap[k] > 1.59 and overlap[k] < 1.61"), Lines{"1.0 0..10 2 end"});
    EXPECT_EQ(found("overlap[k] > 1.09 and overlap[k] < 1.11"), (Lines{"0.0 0..10 2 end", "1.1 0..10 2 end"}));
    EXPECT_EQ(found("overlap[k] > 0.59 and overlap[k] < 0.61"), Lines{"1.2 0..10 2 end"});
    EXPECT_EQ(found("overlap[k] < 0.11"), Lines{"0.1 0..10 2 end"});
    EXPECT_EQ(found("overlap[k] < 1e9").size(), 5u);
}

TEST_F(FindHeads, WhatIsOfALayerIsOfItsHeads) {
    EXPECT_EQ(found("layered[mean] == 31"), (Lines{"1.0 30..30 1 end", "1.1 30..30 1 end", "1.2 30..30 1 end"}));
    EXPECT_EQ(found("layered[z] == 5 and head == 1").size(), 2u);
}

TEST_F(FindHeads, KnowsTheConfigAndTheSeed) {
    for (const char* so : {"model.num_heads == 3", "num_heads == 3", "lr == 0.5", "optimizer.lr < 1", "causal",
                           "not causal == false", "position == 'learned'", "task.type == 'repeat'", "seed == 4"})
        EXPECT_EQ(found(std::string("role == 'induction' and ") + so).size(), 1u) << so;
    for (const char* not_so : {"num_heads == 4", "lr > 0.5", "not causal", "position != 'learned'", "seed == 0"})
        EXPECT_EQ(found(std::string("role == 'induction' and (") + not_so + ")").size(), 0u) << not_so;
}

TEST_F(FindHeads, SaysWhatItDoesNotKnow) {
    for (const auto& [condition, says] : std::vector<std::pair<const char*, const char*>>{
             {"rol == 'local'", "unknown name rol; did you mean role?"},
             {"role == 'locl'", "did you mean local?"},
             {"sharp > 1 and num_head == 2", "did you mean num_heads?"},
             {"sharp > 1 and n_heads == 2", "did you mean num_heads?"},
             {"sharp > 1 and zzzzzz == 2", "known: step, layer, head, seed, layered, norm, overlap, role, sharp"},
             {"type == 'adam' and sharp > 1", "type may be optimizer.type or task.type"},
             {"importance > 1", "log.probes.importance=N"},
             {"role == local", "in quotes: role == \"local\""},
             {"norm > 1", "(class near, far off; projection q, k, v, o); write norm[near, q]"},
             {"norm[q] > 1", "several numbers"},
             {"norm[near, x] > 1", "norm has no projection x"},
             {"norm[nera, q] > 1", "did you mean near?"},
             {"overlap > 1", "write overlap[q]"},
             {"sharp[q] > 1", "without []"},
             {"seed[q] > 1 and sharp > 1", "without []"},
             {"step < 300", "names no metric"},
             {"lr == 'x' and sharp > 1", "the left side is a number"},
             {"layered[z] > 1 and norm[near, q] > 1", "for want of a row that has layered and norm"},
         }) {
        const std::string error = error_of(condition);
        EXPECT_TRUE(contains(error, says)) << error;
    }
    const std::string error = error_of("sharp > 1 and num_head == 2");
    EXPECT_TRUE(contains(error, "column 15 ")) << error;
    EXPECT_TRUE(error.ends_with("\n  sharp > 1 and num_head == 2\n                ^")) << error;
}

TEST_F(FindHeads, LeavesOutRunsThatLackAName) {
    const std::string second = write_run(parent, "b", {.seed = 5}), without = write_run(parent, "c", {.sharp = false});
    const FoundHeads all = find_heads({{run, without, second, run}, {}}, "sharp >= 149 or role == 'induction'");
    EXPECT_EQ(all.runs.size(), 2u) << "a run that is named twice counts once";
    EXPECT_EQ(all.runs[1].folder, second);
    EXPECT_EQ(all.runs[1].seed, 5);
    EXPECT_EQ(all.heads(), 12);
    EXPECT_EQ(all.heads_found(), 2);
    EXPECT_EQ(all.runs_found(), 2);
    EXPECT_EQ(all.notes, std::vector<std::string>{"Not looked at, for want of sharp: " + without + "."});
    EXPECT_EQ(cli::count_found(all), "2 of 12 heads in 2 of 2 runs");
}

TEST_F(FindHeads, RefusesLogsThatContradictThemselves) {
    const std::string wrong = write_run(parent, "w", {.config = "[model]\nnum_layers = 2\nnum_heads = 4\n"}),
                      huge = write_run(parent, "h", {.config = "[model]\nnum_layers = 1000000\nnum_heads = 1000000\n"});
    EXPECT_THROW(find_heads({{wrong}, {}}, "sharp > 1"), IoError);
    EXPECT_THROW(find_heads({{huge}, {}}, "layered[z] > 1"), IoError);
    EXPECT_THROW(find_heads({{parent.path("nowhere")}, {}}, "sharp > 1"), UsageError);
}

TEST_F(FindHeads, AsTextJsonAndTable) {
    const FoundHeads both = find("sharp >= 100 and role == 'induction'");
    EXPECT_EQ(cli::to_text(both),
              "sharp >= 100 and role == 'induction'\n"
              "looked at the steps that all metrics of the condition have, sharp (7 rows), role\n"
              "  (4 rows): 4\n\n" +
                  std::string("run") + std::string(run.size() - 3, ' ') + "  head  first  last  at the end  rows\n" +
                  run + "  1.2      10    20  no          2 of 4\n\n1 of 6 heads in 1 of 1 run\n");
    EXPECT_TRUE(
        contains(cli::to_text(find("role == 'sink'")),
                 "\nlooked at all rows of role, the metric of the condition: 4\n\n0 of 6 heads in 0 of 1 run\n"));
    const auto json = nlohmann::json::parse(cli::to_json(both));
    EXPECT_EQ(
        json["runs"][0]["found"],
        nlohmann::json::parse(R"([{"layer": 1, "head": 2, "first": 10, "last": 20, "at_end": false, "rows": 2}])"));
    EXPECT_EQ(json["runs"][0]["last_row"], 30);
    EXPECT_EQ(json["heads"], 6);
    EXPECT_EQ(cli::to_csv(both), "folder,seed,layer,head,first,last,at_end,rows\n" + run + ",4,1,2,10,20,false,2\n");
}

TEST_F(FindHeads, LongFoldersAreSaidOnce) {
    const std::string name = std::string(90, 'p');
    make_folders(parent.path(name));
    const std::string far = write_run(parent, name + "/x");
    const std::string text = cli::to_text(find_heads({{run, far}, {}}, "role == 'induction'"));
    expect_at_most_80_columns(text);
    EXPECT_TRUE(contains(text, "\nruns\n  1  " + run + "\n  2  ")) << text;
    EXPECT_TRUE(contains(text, "\n2    1.2      10    20  no          2 of 4\n")) << text;
}

}  // namespace
}  // namespace headscope::experiments
