// A run asks the system for memory in its first steps only, whatever is logged.
#include <gtest/gtest.h>

#include <map>

#include "autograd/allocator.h"
#include "autograd/parallel.h"
#include "experiments/config/config.h"
#include "experiments/storage/run_folder.h"
#include "experiments/training/run.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments {
namespace {

TEST(SteadyMemory, OfARunWithDropoutEvaluationAndProbes) {
#if defined(HEADSCOPE_SANITIZES_ADDRESS)
    GTEST_SKIP() << "no cache under AddressSanitizer";
#endif
    // One thread: a probe that works on several layers at once has as many blocks as chance makes threads meet there.
    const TemporaryFolder folder;
    const std::string text =
        "name = \"x\"\n[task]\ntype = \"lag_mixture\"\n[model]\nd_model = 36\nnum_heads = 3\nnum_layers = 2\nd_ff = "
        "40\n"
        "dropout = 0.1\n[train]\nsteps = 60\nbatch_size = 6\nclip_norm = 1.0\n[eval]\nevery = 7\nbatches = 2\n"
        "[log]\nevery = 1\n[log.probes]\ngrad_norm = 1\noverlap = 3\nattention_entropy = 5\n";
    const Experiment experiment = build_experiment(parse_config(text, "run.toml"));
    std::map<std::int64_t, std::uint64_t> requests;
    RunHooks hooks;
    hooks.on_step = [&](const Progress& progress) { requests[progress.step] = allocator::stats().system_requests; };
    start_run(experiment, {.out = folder.path("run"), .threads = 1, .hooks = hooks});
    EXPECT_GT(requests.at(1), 0U);
    EXPECT_EQ(requests.at(60), requests.at(16));
}

}  // namespace
}  // namespace headscope::experiments
