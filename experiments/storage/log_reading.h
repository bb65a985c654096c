// What those who print a run ask of its log.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "experiments/storage/hdf5.h"
#include "experiments/storage/log.h"

namespace headscope::experiments {

/// RUN/log.h5. Throws UsageError, beginning with `verb`, when there is no such folder or no log in it; IoError when the
/// log is damaged.
hdf5::File open_run_log(const std::string& run, const std::string& verb);

/// The last row of an f64 series ("/train/loss"); NaN without a row.
double last_number(const hdf5::File& log, const std::string& path);
/// The last row of a scale ("/train/step"); -1 without a row.
std::int64_t last_step(const hdf5::File& log, const std::string& path);
/// How far the run has come, as far as its log and its checkpoints show.
std::int64_t steps_done(const std::string& run, const hdf5::File& log);

/// A text attribute of the root; empty without one.
std::string root_text(const hdf5::File& log, const std::string& name);

/// How the program, compiler and machine at hand differ from those that the log was last written with, a sentence each.
/// Every one is a reason why bits may differ.
std::vector<std::string> differences_to_this_program(const hdf5::File& log);
/// The same of those with which the run was resumed, from its events.
std::vector<std::string> differences_noted_in(const hdf5::File& log);

/// Where a run comes from that did not start from scratch. What the log does not say is empty, the step -1.
std::optional<Lineage> read_lineage(const hdf5::File& log);

}  // namespace headscope::experiments
