// Do the config, checkpoints, log and data at hand belong to one run? A run is known by its config, except for where
// its data are, by the digest of what these hold (Task::data_sha256()), and by its run_id. Its log keeps all three.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "experiments/config/config.h"
#include "experiments/storage/checkpoint.h"
#include "experiments/storage/log_reader.h"

namespace headscope::experiments {

/// Is it a checkpoint of the run with this config and this log (null: there is none at hand)? One of other data than
/// the log's is, when an event of kind "data" tells of them.
bool belongs(const Checkpoint& checkpoint, const Config& config, const LogReader* log);

/// The identity that checkpoints have which a program of log schema 1.0 has left in this run: the absolute paths of its
/// data then count too. A log that is continued keeps it. Empty when there are no such checkpoints.
std::string identity_of_schema_1_0(const LogReader& log);

/// Tells `config`, of the run in `run_folder`, where its data are if they were moved together with that folder: by the
/// log, which knows where both were. Not of a file that `overrides` name. Without a log that can be read nothing
/// is known.
void find_moved_data(Config& config, const std::string& run_folder, const std::vector<std::string>& overrides);

/// Where the data of an experiment were found: `task.path = "t.txt" (/home/me/t.txt)`, one behind the other.
std::string places_of_data(const Experiment& experiment);

/// How the data at hand differ from those that the run in `folder` was trained on: a sentence with both digests and the
/// places. Nothing when they do not; nor when it is not known (`trained_on` of schema 1.0), or one of the two draws its
/// sequences.
std::optional<std::string> data_difference(const Experiment& at_hand, const std::string& folder,
                                           const std::optional<std::string>& trained_on);

}  // namespace headscope::experiments
