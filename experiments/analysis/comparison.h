// Several runs side by side: in what their configs differ, and what came out, with 95 % intervals over seeds.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace headscope::experiments {

/// A number of a run, by its place in the log: "eval/loss", "eval/<column>", "train/loss" (of each the last row), and
/// "role/<name>", the number of heads that the newest row of /heads/role calls so.
struct Quantity {
    std::string name, title, units;
};

/// One config value as one would type it; without text: the config has no such key.
struct ConfigValue {
    std::string text;
    std::optional<double> number;  ///< when it is one
    bool operator==(const ConfigValue& other) const { return text == other.text; }
};

struct ComparedRun {
    std::string folder, state;
    std::int64_t seed = 0, step = 0;
    std::map<std::string, ConfigValue> config;  ///< by dotted key, without `name` and `seed`
    std::vector<std::string> keys;              ///< of the config, in its order
    std::vector<Quantity> logged;
    std::map<std::string, double> values;  ///< by name of quantity; NaN without a row
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
    std::map<std::string, Estimate> quantities;
    /// Evaluation loss less that of the first group, seed by seed; n = 0 when they share none, and of the first group.
    Estimate difference;
};

struct Comparison {
    std::vector<std::string> differs;  ///< keys, in the order of the config; "fork" last
    std::vector<Quantity> quantities;  ///< those that all runs logged; roles: that any did
    std::vector<RunGroup> groups;      ///< by their values, numbers as numbers
    std::vector<std::string> notes;    ///< what to know before believing it
};

/// RUN/log.h5. Throws UsageError when there is no such run, or it is a replay; IoError when the log is damaged.
ComparedRun read_compared_run(const std::string& folder);

/// Groups runs by the config values in which they differ.
Comparison compare(const std::vector<ComparedRun>& runs);

}  // namespace headscope::experiments
