// Heads that fulfil a condition, printed.
#pragma once

#include <string>

#include "experiments/analysis/find_heads.h"

namespace headscope::experiments::cli {

/// What was looked at, a line per head found, and how many of how many; lines of at most 80 columns.
std::string to_text(const FoundHeads& found);
/// {condition, metrics, runs: [{run, seed, state, alive, step, heads, rows, first_row, last_row, found: [{layer, head,
/// first, last, at_end, rows}]}], heads_found, heads, runs_found, notes}.
std::string to_json(const FoundHeads& found);
/// A header, then a line per head found: folder, seed, layer, head, first, last, at_end, rows.
std::string to_csv(const FoundHeads& found);
/// "3 of 24 heads in 2 of 6 runs".
std::string count_found(const FoundHeads& found);

}  // namespace headscope::experiments::cli
