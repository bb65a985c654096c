// Is a log in itself what a run writes?
#pragma once

#include <string>
#include <vector>

#include "experiments/storage/hdf5.h"

namespace headscope::experiments {

/// Reads every dataset and text attribute below a group, and returns what cannot be read.
std::vector<std::string> unreadable_parts(const hdf5::File& file, const std::string& group = "/");

/// What is wrong with an opened log, a sentence each: parts that cannot be read or are missing, series whose steps do
/// not ascend or whose datasets differ in length, a loss that is not finite, a state that there is not. Empty when all
/// is well.
std::vector<std::string> check_log(const hdf5::File& log);

}  // namespace headscope::experiments
