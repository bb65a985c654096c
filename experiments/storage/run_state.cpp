#include "experiments/storage/run_state.h"

#include <fmt/format.h>
#include <unistd.h>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "experiments/storage/run_folder.h"
#include "experiments/storage/run_lock.h"

namespace headscope::experiments {
namespace {

std::string advice_for(const std::string& run, const RunState& state) {
    if (!state.alive)
        return fmt::format(
            "whether a process trains in it cannot be told from here: {}",
            state.problem.empty() ? "its file system is shared with other machines, or has no locks" : state.problem);
    if (*state.alive) return {};
    if (!path_exists(RunPaths(run).config)) return "it holds no config.toml, so nothing can go on in it";
    if (::access(run.c_str(), W_OK) != 0)
        return fmt::format("{} cannot be written to; `headscope resume` goes on with a copy of it", run);
    return fmt::format("`headscope resume {}` goes on", run);
}

}  // namespace

std::string RunState::word() const {
    if (logged != "running") return logged;
    if (!alive) return "running or stopped";
    return *alive ? "running" : "stopped";
}

RunState read_run_state(const std::string& run, const LogReader& log) {
    RunState state{log.state(), std::nullopt};
    try {
        state.alive = is_locked(run);
    } catch (const IoError& error) {
        state.problem = error.what();
    }
    if (state.logged == "running") state.advice = advice_for(run, state);
    return state;
}

}  // namespace headscope::experiments
