#include "experiments/study/sweep_plan.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments {
namespace {

using Texts = std::vector<std::string>;
const std::string config = "name = \"x\"\n[task]\ntype = \"repeat\"\n";

Manifest plan(const Texts& arguments, bool zip = false, const std::string& text = config) {
    return plan_sweep({"c.toml", text, arguments, zip});
}

Texts folders_of(const Manifest& manifest) {
    Texts folders;
    for (const SweepRun& run : manifest.runs) folders.push_back(run.folder);
    return folders;
}

TEST(SweepPlan, EachWithEach) {
    const Manifest manifest = plan({"model.num_heads=2,4", "train.steps=7", "seed=0..1"});
    EXPECT_EQ(folders_of(manifest),
              (Texts{"num_heads-2_seed-0", "num_heads-2_seed-1", "num_heads-4_seed-0", "num_heads-4_seed-1"}));
    EXPECT_EQ(manifest.overrides, Texts{"train.steps=7"});
    EXPECT_EQ(manifest.overrides_of(manifest.runs[2]), (Texts{"train.steps=7", "model.num_heads=4", "seed=0"}));
    const Config last = config_of(manifest, manifest.runs[3]);
    EXPECT_EQ(last.model.num_heads, 4);
    EXPECT_EQ(last.seed, 1);
    EXPECT_EQ(last.train.steps, 7);
    EXPECT_EQ(manifest.name, "x");
}

TEST(SweepPlan, ZippedOnesGoTogether) {
    const Manifest manifest = plan({"model.num_heads=2,4", "optimizer.lr=0.1,0.2"}, true);
    EXPECT_EQ(folders_of(manifest), (Texts{"num_heads-2_lr-0.1", "num_heads-4_lr-0.2"}));
    EXPECT_THROW(plan({"model.num_heads=2,4", "seed=0..2"}, true), UsageError);
}

TEST(SweepPlan, NamesOfFoldersAreNamesOfFolders) {
    const Manifest manifest = plan({"task.type=repeat,reversal", R"(optimizer.type="adam",sgd)"});
    EXPECT_EQ(manifest.runs.front().folder, "task.type-repeat_optimizer.type-adam");
    const Manifest lists = plan({R"(model.init.clone_heads=["q", "k"],["q"],['q'])"});
    const Texts folders = folders_of(lists);
    EXPECT_EQ(std::set<std::string>(folders.begin(), folders.end()).size(), 3U) << "no two runs in one folder";
    for (const std::string& folder : folders) EXPECT_EQ(folder.find_first_of("/[]\"', "), std::string::npos) << folder;
}

TEST(SweepPlan, ValuesAreAddedToAnOldOne) {
    Manifest old = plan({"seed=0..1"});
    old.runs[1].state = SweepState::finished;
    const Manifest more = extended_sweep(old, plan({"seed=1..2"}));
    EXPECT_EQ(folders_of(more), (Texts{"seed-0", "seed-1", "seed-2"}));
    EXPECT_EQ(more.runs[1].state, SweepState::finished);
    EXPECT_EQ(more.axes.front().values, (Texts{"0", "1", "2"}));
    EXPECT_NO_THROW(extended_sweep(old, plan({"seed=0..1"}, false, "# a word\n" + config)));
    EXPECT_THROW(extended_sweep(old, plan({"seed=0..1", "train.steps=5"})), UsageError);
    EXPECT_THROW(extended_sweep(old, plan({"model.num_heads=2,4"})), UsageError);
}

TEST(Manifest, ComesBack) {
    const TemporaryFolder folder;
    Manifest written = plan({"model.num_heads=2,4", "seed=0..1"});
    written.runs[0] = {"num_heads-2_seed-0", written.runs[0].overrides, SweepState::failed, -9, "killed \"so\"\n道"};
    written.zip = true;
    write_manifest(folder.path(), written);
    const Manifest read = read_manifest(folder.path());
    EXPECT_EQ(read.axes, written.axes);
    EXPECT_EQ(read.config, written.config);
    EXPECT_EQ(read.working_folder, std::filesystem::current_path().string());
    EXPECT_EQ(folders_of(read), folders_of(written));
    EXPECT_EQ(read.runs[0].exit, -9);
    EXPECT_EQ(read.runs[0].message, written.runs[0].message);
    EXPECT_EQ(read.runs[0].state, SweepState::failed);
    EXPECT_EQ(read.runs[1].exit, std::nullopt);
    EXPECT_TRUE(read.zip);
}

TEST(Manifest, ChangesOfManyAreAllKept) {
    const TemporaryFolder folder;
    write_manifest(folder.path(), plan({"seed=0..15"}));
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < 4; ++i)
        threads.emplace_back([&, i] {
            for (std::size_t run = i; run < 16; run += 4)
                change_manifest(folder.path(), [&](Manifest& now) { now.runs[run].state = SweepState::finished; });
        });
    for (std::thread& thread : threads) thread.join();
    for (const SweepRun& run : read_manifest(folder.path()).runs) EXPECT_EQ(run.state, SweepState::finished);
    EXPECT_EQ(list_folder(folder.path()), Texts{"manifest.json"});
}

}  // namespace
}  // namespace headscope::experiments
