// The runs that a command line names, some by the folder of their sweep, and what is to be said of those that have not
// ended.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "experiments/storage/run_state.h"

namespace headscope::experiments {

/// A sweep that was named.
struct NamedSweep {
    struct Missing {
        std::string name;   ///< of its folder in the sweep
        std::string state;  ///< by the manifest
    };
    std::string folder;
    std::vector<std::string> runs;  ///< folders of those that have a log
    std::vector<Missing> missing;   ///< those that have none

    std::size_t size() const { return runs.size() + missing.size(); }
};

struct RunSet {
    std::vector<std::string> folders;  ///< of all runs with a log, in the order named; of a sweep in its manifest's
    std::vector<NamedSweep> sweeps;
};

/// `paths`: folders of sweeps, folders of runs, or log.h5 of these. Throws UsageError, beginning with `verb`, when they
/// name sweeps none of whose runs has a log; IoError for a manifest that is none.
RunSet named_runs(const std::vector<std::string>& paths, const std::string& verb);

/// How far a run has come.
struct RunProgress {
    std::string folder;
    RunState state;
    std::int64_t step;
};

/// What to know of runs that are not finished: of those of a sweep in one sentence with their number, of each other in
/// a sentence of its own.
std::vector<std::string> notes_on_unfinished(const std::vector<RunProgress>& runs,
                                             const std::vector<NamedSweep>& sweeps);

}  // namespace headscope::experiments
