// Checkpoints: checkpoints/step-00002000.h5 holds the weights after 2000 updates and all that the next update needs.
//
// The file is an HDF5 file behind a 512-byte user block: magic word, format version, length and SHA-256 of all that
// follows. Damage is found before the HDF5 library sees a byte.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/module.h"
#include "optim/optimizer.h"

namespace headscope {

struct Checkpoint {
    std::int64_t step = 0;
    std::int64_t seed = 0;
    std::int64_t tokens_seen = 0;
    double elapsed = 0;                ///< seconds trained so far
    std::string config_identity;       ///< see config.h
    nn::StateDict model;
    optim::OptimizerState optimizer;
};

/// "step-00002000.h5".
std::string checkpoint_name(std::int64_t step);

/// Writes folder/step-XXXXXXXX.h5 by temporary name, fsync, rename, fsync of the folder; reads it back and verifies it;
/// only then deletes all but the newest `keep` (0 = keep all). Returns its path. Throws IoError.
std::string save_checkpoint(const std::string& folder, const Checkpoint& checkpoint, std::int64_t keep);

/// Throws IoError naming the file and what is wrong: cannot be read, not a checkpoint, newer format, truncated, damaged.
Checkpoint load_checkpoint(const std::string& path);

/// Steps of the checkpoints in a folder, ascending, by file name alone; empty when there is no such folder.
std::vector<std::int64_t> list_checkpoints(const std::string& folder);

}  // namespace headscope
