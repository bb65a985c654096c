// The parts that a summary is printed in.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "experiments/cli/summary_text.h"

namespace headscope::experiments::cli {

inline constexpr std::array projection_names{"q", "k", "v", "o"};
inline constexpr std::array ablation_names{"zero", "mean", "resample"};

/// "2.1": layer and head.
std::string head_name(std::int64_t layer, std::int64_t head);
/// A number that is not negative in at most six columns: "0.0123", "12.35", "1e-05", "-".
std::string positive_cell(double value);
/// A row per head; a column for each metric that was measured of any.
std::string head_table(const RunSummary& summary);
/// Every other metric of the log: a column per head where it has few numbers for each, else its range.
std::string other_metrics(const RunSummary& summary);
/// What the heads did, a sentence per metric that was measured; then the notes.
std::vector<std::string> sentences(const RunSummary& summary);

}  // namespace headscope::experiments::cli
