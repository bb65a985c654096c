// The runs of sweeps that are named, and what is said of those that have not ended.
#include "experiments/analysis/run_set.h"

#include <gtest/gtest.h>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "experiments/storage/log.h"
#include "experiments/storage/run_folder.h"
#include "experiments/study/manifest.h"
#include "tests/experiments/temporary_folder.h"
#include "tests/experiments/text_checks.h"

namespace headscope::experiments {
namespace {

/// A sweep with runs s0, s1, ... of which the first `logs` have a log.
std::string write_sweep(const TemporaryFolder& parent, int runs, int logs) {
    const std::string sweep = parent.path("sweep");
    make_folders(sweep);
    Manifest manifest{.name = "x"};
    for (int i = 0; i < runs; ++i) {
        const std::string name = "s" + std::to_string(i);
        manifest.runs.push_back({name, {}, i < logs ? SweepState::finished : SweepState::waiting});
        make_folders(sweep + "/" + name);
        if (i < logs) Log(RunPaths(sweep + "/" + name).log).publish();
    }
    write_manifest(sweep, manifest);
    return sweep;
}

TEST(RunSet, ExpandsSweeps) {
    TemporaryFolder parent;
    const std::string sweep = write_sweep(parent, 4, 2);
    const RunSet set = named_runs({parent.path("a"), sweep + "/", parent.path("b") + "/log.h5"}, "compare");
    EXPECT_EQ(set.folders,
              (std::vector<std::string>{parent.path("a"), sweep + "/s0", sweep + "/s1", parent.path("b")}));
    ASSERT_EQ(set.sweeps.size(), 1u);
    EXPECT_EQ(set.sweeps[0].folder, sweep);
    EXPECT_EQ(set.sweeps[0].size(), 4u);
    ASSERT_EQ(set.sweeps[0].missing.size(), 2u);
    EXPECT_EQ(set.sweeps[0].missing[1].name, "s3");
    EXPECT_EQ(set.sweeps[0].missing[1].state, "waiting");
}

TEST(RunSet, OfASweepWithoutALogIsAnError) {
    TemporaryFolder parent;
    const std::string sweep = write_sweep(parent, 3, 0);
    try {
        named_runs({sweep}, "find");
        FAIL() << "no error";
    } catch (const UsageError& error) {
        EXPECT_EQ(std::string(error.what()), "find: none of the 3 runs of " + sweep + " has a log yet");
    }
    EXPECT_EQ(named_runs({sweep, parent.path("a")}, "find").folders, std::vector<std::string>{parent.path("a")});
}

TEST(RunSet, CountsTheRunsOfASweepThatAreNotFinished) {
    TemporaryFolder parent;
    const std::string sweep = write_sweep(parent, 5, 3), alone = parent.path("alone");
    const RunSet set = named_runs({sweep, alone}, "compare");
    const RunState stopped{"running", false, "`headscope resume` goes on"};
    std::vector<RunProgress> runs{{sweep + "/s0", {"finished", false}, 20},
                                  {sweep + "/s1", {"failed", false}, 7},
                                  {sweep + "/s2", stopped, 10},
                                  {alone, stopped, 5}};
    EXPECT_EQ(notes_on_unfinished(runs, set.sweeps),
              (std::vector<std::string>{"4 of 5 runs of " + sweep +
                                            " are not finished: s1 (failed at step 7), s2 (stopped at step 10), s3 "
                                            "(waiting, no log), s4 (waiting, no log); `headscope sweep " +
                                            sweep + " --resume` goes on.",
                                        alone + " is not finished: stopped at step 5; `headscope resume` goes on."}));
    runs[2].state.alive = true;
    EXPECT_FALSE(contains(notes_on_unfinished(runs, set.sweeps)[0], "--resume"));
}

TEST(RunSet, NamesTwentyAndCountsTheRest) {
    TemporaryFolder parent;
    const RunSet set = named_runs({write_sweep(parent, 60, 1)}, "compare");
    const std::vector<RunProgress> runs{{set.folders[0], {"finished", false}, 20}};
    const std::string note = notes_on_unfinished(runs, set.sweeps).at(0);
    EXPECT_TRUE(note.starts_with("59 of 60 runs of ")) << note;
    EXPECT_TRUE(contains(note, "s20 (waiting, no log), and 39 more;")) << note;
    EXPECT_FALSE(contains(note, "s21")) << note;
}

TEST(RunSet, WholeSweepsNeedNoNote) {
    TemporaryFolder parent;
    const RunSet set = named_runs({write_sweep(parent, 1, 1)}, "compare");
    EXPECT_TRUE(notes_on_unfinished({{set.folders[0], {"finished", false}, 20}}, set.sweeps).empty());
}

}  // namespace
}  // namespace headscope::experiments
