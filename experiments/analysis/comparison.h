// Several runs side by side: in what their configs differ, and what came out, with 95 % intervals over seeds.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "experiments/analysis/run_set.h"
#include "experiments/storage/run_state.h"

namespace headscope::experiments {

/// What to take from each run.
///
/// A scalar series is named as in the log, "eval/loss", a metric of the heads by its name and how its numbers become
/// one: "induction/max", "/mean", "/min" over all heads (of pairs those of two different heads), or "induction[0.1]",
/// the mean over what it says of head 0.1. A metric's name alone stands for its mean, maximum and minimum.
/// "role/induction" is the number of heads with that role, "role" stands for all roles.
struct CompareOptions {
    std::vector<std::string> quantities = {};  ///< empty: the losses, the rest of /eval, and the roles
    std::optional<std::int64_t> step = {};     ///< the newest row up to this step; none: the newest row
    /// Also the first step at which a quantity is so large, or so small.
    std::optional<double> above = {}, below = {};
    /// Also the mean of each over its steps, see area_of() in quantity_curve.h; of the steps `from` to `to` alone.
    bool area = false;
    std::optional<std::int64_t> from = {}, to = {};
};

/// A number of a run: of a series its row, "role/<name>" the number of heads that the row of /heads/role calls so,
/// "<name> first >= <limit>" the step at which it was first so, "<name> area" its mean over the steps.
struct Quantity {
    std::string name, title, units;
    double minimum = -std::numeric_limits<double>::infinity();  ///< of what it can be
    double maximum = std::numeric_limits<double>::infinity();
    bool is_count = false;  ///< a few heads, far from normal: it has no interval
};

/// One config value as one would type it; without text: the config has no such key.
struct ConfigValue {
    std::string text;
    std::optional<double> number;  ///< when it is one
    bool operator==(const ConfigValue& other) const { return text == other.text; }
};

struct ComparedRun {
    std::string folder;
    RunState state;
    std::int64_t seed = 0, step = 0;
    /// By dotted key, without `name` and `seed`. Paths of data are absolute; "data" is what the data are known by.
    std::map<std::string, ConfigValue> config;
    std::vector<std::string> keys;  ///< of the config, in its order
    std::vector<Quantity> logged;
    std::map<std::string, double> values;  ///< by name of quantity; NaN without a row
    /// Of an area: steps of the first and the last row that it is over.
    std::map<std::string, std::pair<std::int64_t, std::int64_t>> windows;
};

/// Mean over runs and its 95 % interval by Student's t with n - 1 degrees of freedom (Student 1908, "The probable error
/// of a mean"): low and high are NaN when n < 2. Everything is NaN when n = 0.
struct Estimate {
    double mean, low, high, minimum, maximum;
    std::int64_t n;
};
Estimate estimate(const std::vector<double>& values);

/// Runs of one config.
struct RunGroup {
    std::vector<ConfigValue> values;  ///< of the keys that differ
    std::vector<ComparedRun> runs;    ///< in the order given, a seed once
    /// The intervals lie within what the quantity can be; low and high are NaN for counts.
    std::map<std::string, Estimate> quantities;
    /// Of each quantity of Comparison::paired, less that of the baseline, seed by seed; n = 0 when they share none, and
    /// no interval for counts. Empty for the baseline itself.
    std::map<std::string, Estimate> differences;
};

struct Comparison {
    std::vector<std::string> differs;  ///< keys, in the order of the config; "fork" last
    std::vector<Quantity> quantities;  ///< those that all runs logged, with all their titles; roles: that any did
    std::vector<RunGroup> groups;      ///< by their values, numbers as numbers
    std::size_t baseline = 0;          ///< the group that differences are to
    std::vector<std::string> paired;   ///< quantities that have differences
    std::vector<std::string> notes;    ///< what to know before believing it
};

/// RUN/log.h5. Throws UsageError when there is no such run, when it is a replay, or for a head that it does not have;
/// IoError when the log is damaged.
ComparedRun read_compared_run(const std::string& folder, const CompareOptions& options = {});

/// Groups runs by the config values in which they differ, and by what their data hold; by the paths of these when a log
/// of schema 1.0 among them does not tell. `against` chooses the baseline: "lr=0.001" or "optimizer.lr=0.001
/// num_heads=2"; empty: the first group. Of `sweeps`, which the runs come from, the notes say what has not ended.
/// Throws UsageError when `against` is not exactly one group, and when no run has one of the quantities asked for.
Comparison compare(const std::vector<ComparedRun>& runs, const CompareOptions& options = {},
                   const std::string& against = {}, const std::vector<NamedSweep>& sweeps = {});

}  // namespace headscope::experiments
