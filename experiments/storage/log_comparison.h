// Two logs of one run, row by row.
#pragma once

#include <cstdint>
#include <string>

#include "experiments/storage/hdf5.h"

namespace headscope::experiments {

struct LogComparison {
    std::int64_t series = 0;  ///< datasets of which both have a row of one step
    std::int64_t rows = 0;    ///< such rows, over all series
    std::int64_t different = 0;
    std::string first;  ///< "/heads/overlap/value at step 50: 0.25 and 0.26", of the earliest row that differs
};

/// Compares, bit for bit, the rows of steps `from` to `to` that both logs have, in all series but those of the clock
/// and the machine (/events; elapsed, time, tokens_per_second, peak_memory). A series of another type or row shape
/// counts as different.
LogComparison compare_rows(const hdf5::File& a, const hdf5::File& b, std::int64_t from, std::int64_t to);

}  // namespace headscope::experiments
