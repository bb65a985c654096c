// From a config and what a command line says to the runs of a sweep: one for each combination of values.
#pragma once

#include <string>
#include <vector>

#include "experiments/config/config.h"
#include "experiments/study/manifest.h"

namespace headscope::experiments {

struct SweepRequest {
    std::string config_path;             ///< as named
    std::string config;                  ///< its text
    std::vector<std::string> arguments;  ///< "model.num_heads=2,8": an axis; "train.steps=500": of all runs
    bool zip = false;
};

/// The manifest of a new sweep, all of its runs waiting, the last axis fastest. Axes are those of the config's [sweep]
/// and of the arguments, which come before it. A run's folder is named by the values of its axes. Throws UsageError
/// when there is no axis, when zipped axes have other numbers of values, for more than 10,000 runs, and with the first
/// combination that is wrong, all that is wrong with it.
Manifest plan_sweep(const SweepRequest& request);

/// An old sweep with the runs of `wanted` that it lacks added at its end. Throws UsageError when they have other keys,
/// or another config for the rest.
Manifest extended_sweep(const Manifest& old, const Manifest& wanted);

/// The config of a run. Throws UsageError with all that is wrong with it.
Config config_of(const Manifest& manifest, const SweepRun& run);

}  // namespace headscope::experiments
