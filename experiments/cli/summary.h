// What a run's log says in short: for the end of `run` and for `inspect`.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "experiments/probes/roles.h"
#include "experiments/tasks/task.h"

namespace headscope::cli {

/// The newest row of each metric for one head; NaN = not measured. Arrays are over q, k, v, o.
struct HeadRow {
    std::int64_t layer, head;
    std::array<double, 4> grad_norm;
    std::array<double, 4> overlap;    ///< mean over the other heads of the layer
    std::array<double, 4> overlap_z;  ///< against independent random subspaces
    double entropy;                   ///< nat
    /// As logged, or else by the same rule from the logged metrics; empty when they do not say.
    std::string role = {};
    RoleEvidence evidence = no_evidence;
};

struct HeadPair {
    std::int64_t layer, head, other;
    std::size_t projection;
    double overlap, z;
};

struct RunSummary {
    std::string run, state;
    std::int64_t seed = 0, step = 0;
    double elapsed;  ///< seconds
    std::int64_t train_step, eval_step;
    double train_loss, eval_loss, eval_accuracy;  ///< NaN without a row
    std::vector<Floor> floors, references;
    double overlap_null_mean, overlap_null_std;
    std::vector<HeadRow> heads;      ///< by layer, then head; empty without probes
    std::vector<HeadPair> top_pair;  ///< the pair with the highest overlap, or none
};

/// Reads RUN/log.h5. Throws UsageError when there is no such run, IoError when the log cannot be read.
RunSummary read_summary(const std::string& run);

/// Loss against floors, a row per head, and what the heads did in words; lines of at most 80 columns.
std::string to_text(const RunSummary& summary);
/// The same as one JSON object.
std::string to_json(const RunSummary& summary);

}  // namespace headscope::cli
