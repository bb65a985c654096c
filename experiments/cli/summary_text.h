// A run's summary for people and for programs.
#pragma once

#include <string>
#include <vector>

#include "experiments/analysis/summary.h"

namespace headscope::experiments::cli {

/// Loss against floors, a row per head, what the heads did in words, and the newest events; lines of at most 80
/// columns.
std::string to_text(const RunSummary& summary);
/// The same and more as one JSON object.
std::string to_json(const RunSummary& summary);

/// Prints the summary of the run in `folder`. Throws as read_summary does.
void print_summary(const std::string& folder, bool json);

}  // namespace headscope::experiments::cli
