// A run as a function of a C++ program: started, stopped, continued, replayed, forked, and two at once.
#include "experiments/training/run.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "experiments/storage/log_reader.h"
#include "experiments/storage/log_seal.h"
#include "experiments/storage/run_folder.h"
#include "experiments/training/evaluation_observer.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments {
namespace {

Experiment experiment_with(const std::vector<std::string>& overrides = {}) {
    return build_experiment(
        parse_config("name = \"x\"\n[task]\ntype = \"repeat\"\nvocab_size = 7\nseq_len = 8\n"
                     "[model]\nd_model = 12\nnum_heads = 3\nnum_layers = 2\nd_ff = 10\ndropout = 0.1\n"
                     "[train]\nsteps = 6\nbatch_size = 6\naccumulate = 3\n[eval]\nevery = 2\nbatches = 2\n"
                     "[checkpoint]\nevery = 2\nkeep = 0\n[log]\nevery = 1\n[log.probes]\ngrad_norm = 1\noverlap = 2\n",
                     "run.toml", overrides));
}

/// Weights and optimizer state after some step.
std::map<std::string, std::string> state_of(const std::string& folder, std::int64_t step) {
    std::map<std::string, std::string> values;
    const Checkpoint checkpoint = load_checkpoint(RunPaths(folder).checkpoints + "/" + checkpoint_name(step));
    const auto add = [&](const auto& tensors) {
        for (const auto& [name, tensor] : tensors)
            values[name].assign(reinterpret_cast<const char*>(tensor.bytes()),
                                static_cast<std::size_t>(tensor.numel()) * size_of(tensor.dtype()));
    };
    add(checkpoint.model);
    add(checkpoint.optimizer);
    return values;
}

class Run : public testing::Test {
protected:
    const TemporaryFolder folder_;
};

TEST_F(Run, StopsAndGoesOnToTheSameBits) {
    const std::string whole = folder_.path("whole"), broken = folder_.path("broken");
    const RunResult result = start_run(experiment_with(), {.out = whole});
    EXPECT_EQ(result.folder, whole);
    EXPECT_EQ(result.steps_done, 6);

    std::atomic<bool> stop = false;
    RunHooks hooks;
    hooks.stop = &stop;
    hooks.on_step = [&](const Progress& progress) { stop = progress.step == 3; };
    EXPECT_THROW(start_run(experiment_with(), {.out = broken, .hooks = hooks}), Stopped);
    EXPECT_EQ(list_checkpoints(RunPaths(broken).checkpoints), (std::vector<std::int64_t>{2, 3}));
    const RunResult rest = resume_run(broken);
    EXPECT_EQ(rest.steps_done, 6);
    EXPECT_FALSE(rest.was_finished);
    EXPECT_EQ(state_of(broken, 6), state_of(whole, 6));
    const LogComparison same = compare_rows(open_log(RunPaths(whole).log), open_log(RunPaths(broken).log), 0, 6);
    EXPECT_EQ(same.different, 0) << same.first;
    EXPECT_GT(same.rows, 40);

    const RunResult again = resume_run(broken);
    EXPECT_TRUE(again.was_finished);
    EXPECT_EQ(again.steps_done, 6);
    EXPECT_EQ(resume_run(broken, {"train.steps=8"}).steps_done, 8);
    EXPECT_THROW(resume_run(broken, {"optimizer.lr=1"}), UsageError);
    EXPECT_THROW(start_run(experiment_with(), {.out = whole}), UsageError);
}

TEST_F(Run, OfAModelWithoutLayersHasNoHeadsToMeasure) {
    const std::string run = folder_.path("run");
    const RunResult result = start_run(
        experiment_with({"model.num_layers=0", "log.attention=1", "log.probes.attention_entropy=1"}), {.out = run});
    EXPECT_EQ(result.steps_done, 6);
    const LogReader log(RunPaths(run).log);
    EXPECT_TRUE(log.metrics().empty());
    EXPECT_EQ(log.steps("train").size(), 6U);
    EXPECT_TRUE(log.steps("attention").empty());
    EXPECT_EQ(replay_run(run, 1, 3, {}).compared.different, 0);
}

TEST_F(Run, IsReplayedAndForked) {
    const std::string run = folder_.path("run");
    start_run(experiment_with(), {.out = run});
    const ReplayResult replayed = replay_run(run, 1, 3, {"log.probes.attention_entropy=1"});
    EXPECT_EQ(replayed.folder, run + "-replay-1-3");
    EXPECT_EQ(replayed.compared.different, 0);
    EXPECT_GT(replayed.compared.rows, 10);
    EXPECT_EQ(open_log(RunPaths(replayed.folder).log).read<std::int64_t>("/heads/attention_entropy/step"),
              (std::vector<std::int64_t>{1, 2, 3}));
    EXPECT_EQ(replay_run(run, 6, std::nullopt, {}).to, 6);

    const RunResult same = fork_run(run, 3, {});
    EXPECT_EQ(same.folder, run + "-fork-3");
    EXPECT_EQ(state_of(same.folder, 6), state_of(run, 6));
    const RunResult other = fork_run(run, 3, {"optimizer.lr=0.1"}, {.out = folder_.path("other")});
    EXPECT_NE(state_of(other.folder, 6), state_of(run, 6));
}

/// Each with threads of its own, at the same time: the bits of a run alone.
TEST_F(Run, TwoRunInOneProcessAtOnce) {
    const std::string alone = folder_.path("alone");
    start_run(experiment_with(), {.out = alone, .threads = 1});
    std::vector<std::thread> threads;
    for (int number = 1; number <= 2; ++number)
        threads.emplace_back([this, number] {
            start_run(experiment_with(), {.out = folder_.path("run" + std::to_string(number)), .threads = number});
        });
    for (std::thread& thread : threads) thread.join();
    for (int number = 1; number <= 2; ++number) {
        const std::string folder = folder_.path("run" + std::to_string(number));
        EXPECT_EQ(state_of(folder, 6), state_of(alone, 6));
        EXPECT_EQ(open_log(RunPaths(folder).log).integer_attribute("/", "threads"), number);
    }
}

/// What fails before its first log leaves nothing of its own, and whatever is not its own stays.
TEST(RunFolderOfAFailedStart, LosesItsOwnFilesAlone) {
    const TemporaryFolder folder;
    const std::string run = folder.path("run");
    const auto fail = [&](bool disturbed) {
        const NewRunFolder made(run, {"config.toml"}, nullptr);
        std::ofstream(run + "/config.toml") << "x";
        if (!disturbed) return;
        std::ofstream(run + "/of_somebody_else") << "x";
        std::filesystem::create_directory(run + "/checkpoints");
        std::ofstream(run + "/checkpoints/step-00000002.h5") << "x";
    };
    fail(false);
    EXPECT_FALSE(std::filesystem::exists(run));
    fail(true);
    EXPECT_EQ(list_folder(run), (std::vector<std::string>{"checkpoints", "of_somebody_else"}));
    EXPECT_TRUE(std::filesystem::exists(run + "/checkpoints/step-00000002.h5"));
}

/// A run that fails on its way, its log taken away meanwhile, keeps its checkpoints.
TEST_F(Run, ALaterFailureTakesNothingBack) {
    const std::string run = folder_.path("run");
    RunHooks hooks;
    hooks.on_step = [&](const Progress& progress) {
        if (progress.step != 5) return;
        std::filesystem::rename(RunPaths(run).log, folder_.path("log.h5"));
        throw IoError("the disk is full");
    };
    EXPECT_THROW(start_run(experiment_with(), {.out = run, .hooks = hooks}), IoError);
    EXPECT_EQ(list_checkpoints(RunPaths(run).checkpoints), (std::vector<std::int64_t>{2, 4}));
    EXPECT_TRUE(std::filesystem::exists(RunPaths(run).config));
}

}  // namespace
}  // namespace headscope::experiments
