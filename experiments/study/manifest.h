// manifest.json of a sweep: which runs it is made of and how far each has come.
//
//   runs/lag_mixture-sweep/
//     manifest.json
//     num_heads-2_seed-0/          a run's folder like any other
//     num_heads-2_seed-1/
//
//   {"schema_name": "headscope.sweep", "schema_version": "1.0", "name": "lag_mixture",
//    "config_path": "lag_mixture.toml", "config": "<the text of that file>", "working_folder": "/home/me",
//    "overrides": ["train.steps=500"],
//    "axes": [{"key": "model.num_heads", "values": ["2", "8"]}, {"key": "seed", "values": ["0", "1"]}], "zip": false,
//    "runs": [{"folder": "num_heads-2_seed-0", "overrides": ["model.num_heads=2", "seed=0"],
//              "state": "finished", "exit": 0, "message": "", "data_sha256": ""}, ...]}
//
// `state` is waiting, running, stopped, finished or failed; `exit` the exit code of the process that trained last, null
// before. It is replaced as a whole, and changed by one process at a time; a process that was killed leaves `running`
// behind (see state_of()).
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "experiments/config/sweep_section.h"

namespace headscope::experiments {

enum class SweepState { waiting, running, stopped, finished, failed };
std::string name_of(SweepState state);

struct SweepRun {
    std::string folder;                  ///< its name in the folder of the sweep
    std::vector<std::string> overrides;  ///< one of each axis
    SweepState state = SweepState::waiting;
    std::optional<int> exit = {};
    std::string message = {};      ///< why it failed
    std::string data_sha256 = {};  ///< of what it trains on; empty: not begun, or drawn
};

struct Manifest {
    std::string name = {}, config_path = {}, config = {}, working_folder = {};
    std::vector<std::string> overrides = {};  ///< of all runs
    std::vector<SweepAxis> axes = {};
    bool zip = false;  ///< the n-th values of all axes go together, instead of each with each
    std::vector<SweepRun> runs = {};

    /// Run number `task`. Throws IoError when there is none, for another program may have changed the file.
    SweepRun& run(std::size_t task);
    /// Throws IoError, naming the manifest of `sweep`, when its runs cannot be trained by it: a run has to set each
    /// key.
    void require_complete(const std::string& sweep) const;
    /// All overrides of a run, in the order in which they are applied.
    std::vector<std::string> overrides_of(const SweepRun& run) const;
};

inline constexpr const char* manifest_name = "manifest.json";

/// Is `folder` that of a sweep?
bool is_sweep(const std::string& folder);

/// Throws IoError when there is none, or it is no manifest of a schema known here.
Manifest read_manifest(const std::string& sweep);
/// What the file holds.
std::string manifest_text(const Manifest& manifest);
/// Replaces the whole file. Throws IoError.
void write_manifest(const std::string& sweep, const Manifest& manifest);
/// Reads, changes and replaces it, one process after the other. Returns what it is now. Throws IoError.
Manifest change_manifest(const std::string& sweep, const std::function<void(Manifest&)>& change);

/// The folders of the runs of `path` that have a log: those of a sweep in the order of its manifest, or the one run
/// that it names (a folder, or its log.h5).
std::vector<std::string> runs_of(const std::string& path);

}  // namespace headscope::experiments
