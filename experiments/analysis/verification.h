// Integrity of what a run left on disk: is each file whole, and do they belong together? Reads all, changes nothing.
#pragma once

#include <string>
#include <vector>

namespace headscope::experiments {

/// What was found about one file.
struct FileReport {
    std::string file;  ///< below the run's folder; of a single file its path
    /// config, log, checkpoint, trace, ..., HDF5 file; folder: one that cannot be read; data: those at hand are not the
    /// run's.
    std::string kind;
    std::vector<std::string> problems;  ///< a sentence each; empty when the file is as it was written
    std::string note = {};              ///< what else is worth knowing; may be empty

    bool good() const { return problems.empty(); }
};

/// A run's folder: config.toml, log.h5, checkpoints/, and whatever else is an HDF5 file, by name. A run that is being
/// written to is fine, and so is one that was killed. The data are held against the log's digest when they are at hand.
/// Throws UsageError when there is no such folder, or it is none of a run.
std::vector<FileReport> verify_run(const std::string& folder);

/// A single file, of the kind that its first bytes and the attribute schema_name say. Throws UsageError when there is
/// no such file.
FileReport verify_file(const std::string& path);

}  // namespace headscope::experiments
