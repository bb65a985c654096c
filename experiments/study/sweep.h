// A sweep on this machine: its runs trained side by side, each in a process of its own, so that what ends one of them
// leaves the others alone. The runs end with this process: when it is killed, they stop as after a SIGTERM.
#pragma once

#include <atomic>
#include <cstddef>
#include <string>

#include "experiments/storage/run_lock.h"
#include "experiments/study/manifest.h"
#include "experiments/training/speedometer.h"

namespace headscope::experiments {

/// Is told what happens; `task` is the number of a run in the manifest.
class SweepObserver {
public:
    virtual ~SweepObserver() = default;
    /// `manifest`: as it is before.
    virtual void begins(const Manifest& manifest) = 0;
    virtual void started(std::size_t task, const SweepRun& run) = 0;
    virtual void progressed(std::size_t task, const Progress& progress) = 0;
    /// `run`: with its new state.
    virtual void ended(std::size_t task, const SweepRun& run) = 0;
    /// A few times a second.
    virtual void tick() {}
};

struct SweepOptions {
    int jobs = 1;             ///< runs at once
    int threads = 1;          ///< of each of them
    bool keep_going = false;  ///< a failure lets the other runs go on; else they are stopped, and none is begun
    const std::atomic<bool>* stop = nullptr;  ///< set from outside: all runs stop after a checkpoint
};

/// Trains all runs of a sweep that are left to do (is_left_to_do()) and returns the manifest after it. `lock`: of the
/// sweep's folder, which one process at a time works on. Throws IoError; never for what a run does.
Manifest run_sweep(const RunLock& lock, const SweepOptions& options, SweepObserver& observer);

}  // namespace headscope::experiments
