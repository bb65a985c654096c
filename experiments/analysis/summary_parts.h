// The parts that a summary is read in.
#pragma once

#include <cstdint>

#include "experiments/analysis/summary.h"
#include "experiments/storage/log_reader.h"

namespace headscope::experiments {

/// Makes the rows when nothing has done so yet. Throws IoError when there are others.
void make_rows(RunSummary& summary, std::int64_t layers, std::int64_t heads);
/// The metrics under /heads.
void read_heads(const LogReader& log, RunSummary& summary);
/// The newest step of RUN/ablation.h5; a note when it cannot be used.
void read_ablation(const LogReader& log, RunSummary& summary);

}  // namespace headscope::experiments
