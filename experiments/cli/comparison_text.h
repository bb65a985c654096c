// A comparison of runs, printed.
#pragma once

#include <string>

#include "experiments/analysis/comparison.h"

namespace headscope::experiments::cli {

/// A block per quantity, a line per group in each; lines of at most 80 columns.
std::string to_text(const Comparison& comparison);
/// {differs, groups: [{values, runs, quantities, difference_to_first}], notes}.
std::string to_json(const Comparison& comparison);
/// A header, then a line per run, by group: folder, the keys that differ, seed, each quantity. Empty: not measured, or
/// a key that the config has not.
std::string to_csv(const Comparison& comparison);

}  // namespace headscope::experiments::cli
