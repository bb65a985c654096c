// What a metric says of itself: name, axes, units, formula. Probes state it, the log keeps it.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace headscope::experiments {

/// An axis of a metric after the row axis.
struct Dimension {
    std::string name;  ///< layer, head, head_other, projection, ...
    std::int64_t size;
    std::vector<std::string> labels;  ///< of a categorical axis ("q", "k", "v", "o"); empty: 0, 1, 2, ...
};

struct MetricSpec {
    std::string name;       ///< key under [log.probes] and group under /heads
    std::string long_name;  ///< what is measured, for a plot's axis
    std::string units;      ///< "1", "nat", ...
    std::string formula;
    std::string source;      ///< where the formula is from
    std::string invariance;  ///< "GL", "orthogonal" or "none"
    double minimum = -std::numeric_limits<double>::infinity();
    double maximum = std::numeric_limits<double>::infinity();
    std::vector<Dimension> dimensions;
    /// For random matrices of that shape; NaN when the metric has no null.
    double null_mean = std::numeric_limits<double>::quiet_NaN();
    double null_std = std::numeric_limits<double>::quiet_NaN();
    /// How the null is known: on how many draws of random matrices it was measured, and the standard errors of its mean
    /// and standard deviation. All 0: a closed form, or no null.
    std::int64_t null_draws = 0;
    double null_mean_error = 0, null_std_error = 0;
    /// What the values stand for when they are codes: 0 is the first label, ... Empty: they are numbers.
    std::vector<std::string> value_labels = {};
};

}  // namespace headscope::experiments
