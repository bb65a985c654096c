// What a sweep will take on this machine, from training the beginning of some of its runs.
#pragma once

#include <atomic>
#include <cstddef>

#include "experiments/study/manifest.h"

namespace headscope::experiments {

struct SweepEstimate {
    std::size_t runs = 0;      ///< that are left to do
    double seconds = 0;        ///< from the beginning to the end of the sweep
    double bytes = 0;          ///< on disk
    std::size_t measured = 0;  ///< runs that were begun for it
};

struct EstimateOptions {
    int jobs = 1, threads = 1;                ///< as in SweepOptions
    double seconds = 10;                      ///< that measuring may take, roughly; each run at most 1.5
    const std::atomic<bool>* stop = nullptr;  ///< set from outside
};

/// Trains runs that differ in more than the seed for a moment, as many at once as the sweep will, in a temporary folder
/// that is gone afterwards. The time of a step is that of the steps after the first; evaluations, probes, attention
/// maps and checkpoints count by how often the whole run has them. Runs of a sweep that were begun already count as
/// whole ones. Throws what is wrong with the data of a run; Stopped.
SweepEstimate estimate_sweep(const Manifest& manifest, const EstimateOptions& options);

}  // namespace headscope::experiments
