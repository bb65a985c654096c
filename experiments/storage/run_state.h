// What a run is doing: what its log says, and whether a process is at work on it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "experiments/storage/log_reader.h"

namespace headscope::experiments {

struct RunState {
    std::string logged;         ///< "running", "finished" or "failed": a killed process could not change the first
    std::optional<bool> alive;  ///< does a process train in the folder? Nothing: that cannot be told here
    std::string advice = {};    ///< of a run that is not finished and not alive: what can be done; else empty
    std::string problem = {};   ///< why its folder could not be looked at; else empty

    /// "running", "stopped", "finished", "failed"; "running or stopped" when that cannot be told.
    std::string word() const;
};

/// Takes no lock, see is_locked().
RunState read_run_state(const std::string& run, const LogReader& log);

}  // namespace headscope::experiments
