// Checks of a log's structure: parts present and readable, series in order, values finite.
#pragma once

#include <string>
#include <vector>

#include "experiments/storage/hdf5.h"

namespace headscope::experiments {

/// Reads every dataset and text attribute below a group, and returns what cannot be read.
std::vector<std::string> unreadable_parts(const hdf5::File& file, const std::string& group = "/");

/// What is wrong with an opened log, a sentence each: parts that cannot be read or are missing, series whose steps do
/// not ascend or whose datasets differ in length, a loss that is not finite (NaN may stand where no target was scored),
/// an unknown state. Empty when nothing is wrong.
std::vector<std::string> check_log(const hdf5::File& log);

}  // namespace headscope::experiments
