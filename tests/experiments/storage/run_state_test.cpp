#include "experiments/storage/run_state.h"

#include <gtest/gtest.h>

#include <fstream>
#include <optional>

#include "experiments/storage/run_lock.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments {
namespace {

RunState state_of(const TemporaryFolder& folder, const std::string& logged) {
    Log log(folder.path("log.h5"));
    log.set_attribute("state", logged);
    log.publish();
    return read_run_state(folder.path(), LogReader(folder.path("log.h5")));
}

TEST(RunState, TellsRunningFromStopped) {
    const TemporaryFolder folder;
    const std::string run = folder.path();
    EXPECT_EQ(state_of(folder, "running").word(), "stopped");
    EXPECT_EQ(state_of(folder, "running").advice, "it holds no config.toml, so nothing can go on in it");
    std::ofstream(folder.path("config.toml")) << "";
    EXPECT_EQ(state_of(folder, "running").advice, "`headscope resume " + run + "` goes on");
    const RunLock lock(run, nullptr);
    const RunState running = state_of(folder, "running");
    EXPECT_EQ(running.word(), "running");
    EXPECT_EQ(running.logged, "running");
    EXPECT_EQ(running.alive, true);
    EXPECT_EQ(running.advice, "");
}

TEST(RunState, WhatEndedStaysSo) {
    const TemporaryFolder folder;
    for (const char* state : {"finished", "failed"}) {
        EXPECT_EQ(state_of(folder, state).word(), state);
        EXPECT_EQ(state_of(folder, state).alive, false);
        EXPECT_EQ(state_of(folder, state).advice, "");
    }
}

TEST(RunState, SaysWhatItCannotTell) {
    const RunState unknown{"running", std::nullopt};
    EXPECT_EQ(unknown.word(), "running or stopped");
    const TemporaryFolder folder;
    Log log(folder.path("log.h5"));
    log.set_attribute("state", std::string("running"));
    log.publish();
    const RunState state = read_run_state(folder.path("nothing"), LogReader(folder.path("log.h5")));
    EXPECT_EQ(state.alive, std::nullopt);
    EXPECT_EQ(state.problem.find(folder.path("nothing") + ": cannot be opened"), 0u) << state.problem;
    EXPECT_EQ(state.advice, "whether a process trains in it cannot be told from here: " + state.problem);
}

}  // namespace
}  // namespace headscope::experiments
