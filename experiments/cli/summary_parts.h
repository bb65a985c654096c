// The pieces that summaries are read and printed with.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "experiments/cli/summary.h"
#include "experiments/storage/hdf5.h"

namespace headscope::cli {

inline constexpr std::array projection_names{"q", "k", "v", "o"};
inline constexpr std::array ablation_names{"zero", "mean", "resample"};

// --- reading ---

/// Makes the rows when nothing has done so yet. Throws IoError when there are others.
void make_rows(RunSummary& summary, std::int64_t layers, std::int64_t heads);
/// The metrics under /heads.
void read_heads(const hdf5::File& log, RunSummary& summary);
/// The newest step of RUN/ablation.h5; a note when it cannot be used.
void read_ablation(const hdf5::File& log, RunSummary& summary);
void read_events(const hdf5::File& log, RunSummary& summary);

// --- printing ---

/// "2.1": layer and head.
std::string head_name(std::int64_t layer, std::int64_t head);
/// A number that is not negative in at most six columns: "0.0123", "12.35", "1e-05", "-".
std::string positive_cell(double value);
/// A row per head; a column for each metric that was measured of any.
std::string head_table(const RunSummary& summary);
/// What the heads did, a sentence per metric that was measured; then the notes.
std::vector<std::string> sentences(const RunSummary& summary);

}  // namespace headscope::cli
