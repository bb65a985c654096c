// Which heads of which runs fulfil a condition, and when first.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "experiments/analysis/head_condition.h"
#include "experiments/analysis/run_set.h"

namespace headscope::experiments {

/// A head for which the condition holds in some row.
struct FoundHead {
    std::int64_t layer, head;
    std::int64_t first, last;  ///< steps of the first and the last row in which it holds
    std::int64_t rows;         ///< in how many it holds
    bool at_end;               ///< in the newest row, too?
};

struct SearchedRun {
    std::string folder;
    RunState state;
    std::int64_t seed = 0, step = 0;       ///< how far it has come
    std::int64_t heads = 0;                ///< of all layers
    std::vector<std::int64_t> steps = {};  ///< of the rows that were looked at
    std::vector<std::int64_t> rows = {};   ///< of each of FoundHeads::metrics, how many it has
    std::vector<FoundHead> found = {};     ///< by layer and head
};

struct FoundHeads {
    std::string condition;
    std::vector<std::string> metrics = {};  ///< that it names
    std::vector<SearchedRun> runs = {};     ///< in the order named, each once
    std::vector<std::string> notes = {};    ///< which runs were not looked at, or are not finished

    std::int64_t heads() const;  ///< of all runs
    std::int64_t heads_found() const;
    std::int64_t runs_found() const;  ///< with such a head
};

/// Looks at each head in each row that all metrics of the condition have. Names are metrics of /heads, each with its
/// other axes chosen by labels in brackets (grad_norm[q]; of pairs of heads the mean over the other heads), `step`,
/// `layer`, `head`, `seed`, and keys of the config, "model.num_heads" or their end alone where it is unique. Runs that
/// lack one of the names are left out, with a note. Reads each log once. Throws UsageError when the condition is none,
/// names no metric, or names what no run has; IoError for a damaged log.
FoundHeads find_heads(const RunSet& runs, const std::string& condition);

}  // namespace headscope::experiments
