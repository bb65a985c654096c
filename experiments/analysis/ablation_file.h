// ablation.h5, schema 1.0: what `headscope ablate` found, a row per step of a run.
//
// All datasets are in the root, f64 but for `control_head` (i64), with dimension scales step, layer, head, ablation
// (zero, mean, resample), class and draw; the root's attributes say in words what each ablation does. Datasets over
// `class` are left out when the task has no classes. xarray.open_dataset(file, engine="h5netcdf") just works. The file
// is sealed as logs are (storage/log_seal.h) and replaced as a whole.
#pragma once

#include <string>

#include "experiments/analysis/ablation.h"

namespace headscope::experiments {

/// May rows of this run and shape be added to what is at `path`? They may when nothing is. Throws UsageError when it
/// is of another run, shape or settings, or no such file at all; IoError when it is damaged or there is no
/// folder for it. Touches nothing.
void check_ablation_file(const std::string& path, const std::string& run_id, const AblationShape& shape);

/// Adds the row of result.step, in place of one of that step, and keeps rows sorted by step. Several processes may do
/// so at once. Throws as above.
void write_ablation(const std::string& path, const std::string& run_id, const AblationResult& result);

}  // namespace headscope::experiments
