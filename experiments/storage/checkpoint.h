// Checkpoints: checkpoints/step-00002000.h5 holds the weights after 2000 updates and all that the next update needs.
//
// The file is an HDF5 file behind a 512-byte user block: magic word, format version, length of the file and SHA-256 of
// all that follows the block, as text. Damage is found before the HDF5 library sees a byte. It holds
//   /model/<parameter name>              the weights, f32 or f64
//   /optimizer/<parameter name>/<state>  the optimizer's state
//   /                                    attribute run_id of the log that it goes with; older files lack it
//   /trainer                             attributes step, seed, tokens_seen, elapsed (s), config_sha256, data_sha256
//                                        (of the data; older files lack it); and of the best
//                                        evaluation so far, at a step that eval.every divides, best_step, best_loss,
//                                        evaluations_since_best, last_evaluation (a step)
// Checkpoints too are checkpoints/best.h5, written with checkpoint.best = true: that of the lowest evaluation loss; and
// checkpoints/start.h5, where a fork of another run begins: it stays for good, as the fork cannot be computed without
// it. Equal contents give equal bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "experiments/base/folder.h"
#include "experiments/storage/best_evaluation.h"
#include "nn/module.h"
#include "optim/optimizer.h"

namespace headscope::experiments {

struct Checkpoint {
    std::int64_t step = 0;
    std::int64_t seed = 0;
    std::int64_t tokens_seen = 0;
    double elapsed = 0;           ///< seconds trained so far
    std::string config_identity;  ///< see config.h
    std::string data_sha256;      ///< of the data it was trained on; empty: none, or not known
    std::string run_id;           ///< of its log; empty: not known, in older files
    BestEvaluation best;
    nn::StateDict model;
    optim::OptimizerState optimizer;
};

/// Name of the checkpoint that a fork begins with.
inline constexpr const char* start_checkpoint_name = "start.h5";

/// "step-00002000.h5".
std::string checkpoint_name(std::int64_t step);
/// Is it that of a checkpoint of any kind?
bool is_checkpoint_name(const std::string& name);

/// Writes folder/step-XXXXXXXX.h5 by temporary name, fsync, rename, fsync of the folder; reads it back and verifies it;
/// only then deletes all but the newest `keep` (0 = keep all) of those up to this step. Returns its path. Throws
/// IoError.
std::string save_checkpoint(const Folder& folder, const Checkpoint& checkpoint, std::int64_t keep);

/// Write folder/best.h5 and folder/start.h5 in the same way. Delete nothing. Return the path. Throw IoError.
std::string save_best_checkpoint(const Folder& folder, const Checkpoint& checkpoint);
std::string save_start_checkpoint(const Folder& folder, const Checkpoint& checkpoint);

/// Throws IoError naming the file and what is wrong: cannot be read, not a checkpoint, newer format, truncated,
/// damaged, of another step than its name says.
Checkpoint load_checkpoint(const std::string& path);

/// The newest checkpoint of a folder that loads and is of no later step than `rows_until`, start.h5 being the oldest;
/// nothing when there is none. For each newer one a message is added to `passed_over`.
/// `rows_until`: where the rows of the log end, for a run that is to go on; past that they would be missing for good.
std::optional<Checkpoint> load_newest_good(const std::string& folder, std::vector<std::string>& passed_over,
                                           std::optional<std::int64_t> rows_until = std::nullopt);

/// Steps of the checkpoints in a folder, ascending, by file name alone; empty when there is no such folder.
std::vector<std::int64_t> list_checkpoints(const std::string& folder);

}  // namespace headscope::experiments
