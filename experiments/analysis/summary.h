// What a run's log says in short: for the end of `run` and `resume`, and for `inspect`.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "experiments/probes/roles.h"
#include "experiments/storage/log_reader.h"
#include "experiments/storage/run_state.h"
#include "experiments/tasks/task.h"

namespace headscope::experiments {

inline constexpr double not_measured = std::numeric_limits<double>::quiet_NaN();

/// The newest row of each metric for one head; NaN = not measured. Arrays are over q, k, v, o.
struct HeadRow {
    std::int64_t layer, head;
    std::array<double, 4> grad_norm;
    std::array<double, 4> overlap;    ///< mean over the other heads of the layer
    std::array<double, 4> overlap_z;  ///< that mean less the null's, in standard deviations of one random pair
    double entropy;                   ///< nat
    /// As logged, or else by the same rule from the logged metrics; empty when they do not say.
    std::string role = {};
    RoleEvidence evidence = no_evidence;
    std::vector<AttentionPlace> mixed_of = {};   ///< of a head whose role is mixed, where lag_profile was logged then
    double grad_norm_total = not_measured;       ///< norm over the four matrices
    std::vector<double> grad_norm_history = {};  ///< the same by row of the log
    double distance = not_measured;              ///< tokens
    double importance = not_measured;            ///< nat
    /// Change of the loss without the head, nat: its output zero, its mean, that of other sequences.
    std::array<double, 3> ablation{not_measured, not_measured, not_measured};
};

struct HeadPair {
    std::int64_t layer, head, other;
    std::size_t projection;
    double overlap, z;
};

struct RunSummary {
    std::string run;
    RunState state;
    std::int64_t seed = 0, step = 0;
    std::optional<Lineage> lineage;
    double elapsed;  ///< seconds
    std::int64_t train_step, eval_step;
    double train_loss, eval_loss, eval_accuracy;  ///< NaN without a row
    std::vector<Floor> floors, references;
    double overlap_null_mean, overlap_null_std;
    std::vector<HeadRow> heads;      ///< by layer, then head; empty without probes
    std::vector<HeadPair> top_pair;  ///< the pair with the highest overlap, or none
    std::vector<std::int64_t> grad_norm_steps;
    std::vector<Metric> metrics;      ///< every metric of the log that has a row, with its newest row alone
    std::int64_t ablation_step = -1;  ///< -1: none
    std::vector<LoggedEvent> events;  ///< in the order of the log
    std::vector<std::string> notes;   ///< what could not be used, and why
};

/// Reads RUN/log.h5, and RUN/ablation.h5 when it is there and of this run. Throws UsageError when there is no such run,
/// IoError when the log cannot be read.
RunSummary read_summary(const std::string& run);

}  // namespace headscope::experiments
