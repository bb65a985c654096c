// A sweep as a job array of Slurm: task N trains run N of the manifest, a process of its own on whatever node.
#pragma once

#include <optional>
#include <string>

#include "experiments/study/manifest.h"

namespace headscope::experiments {

struct SlurmOptions {
    std::string program;              ///< the path of headscope on the nodes
    std::optional<int> jobs = {};     ///< tasks at once; none: as many as the cluster allows
    std::optional<int> threads = {};  ///< cores of a task (--cpus-per-task); none: what sbatch is told, else 1
};

/// The batch script of a sweep. What it does not say (partition, time limit, memory) goes to sbatch as options or in
/// the environment (SBATCH_PARTITION, SBATCH_TIMELIMIT). A task that is told to end, by `scancel --signal=TERM` or two
/// minutes before its time limit, stops after a checkpoint with exit code 75, and is put back into the queue alone;
/// one whose node goes down is put back by Slurm. Both go on where they were.
std::string slurm_script(const std::string& sweep, const Manifest& manifest, const SlurmOptions& options);

/// Writes the script into the sweep's folder and returns its path. Throws IoError.
std::string write_slurm_script(const std::string& sweep, const Manifest& manifest, const SlurmOptions& options);

/// Hands a script to sbatch and returns what that says. Throws UsageError when there is no sbatch, or it refuses.
std::string submit_to_slurm(const std::string& script);

}  // namespace headscope::experiments
