// A number of a run over its steps, as a comparison takes it from a log: a scalar series, a metric of the heads made
// one number, or how many heads have a role.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "experiments/storage/log_reader.h"

namespace headscope::experiments {

struct QuantityCurve {
    std::string title, units;
    std::vector<std::int64_t> steps;
    std::vector<double> values;  ///< one for each step; NaN = not measured
    double minimum, maximum;     ///< of what the values can be
    bool is_count = false;
};

/// Of a series "eval/loss".
QuantityCurve curve_of_series(const std::string& name, Series series);

/// Of each row the mean, the "max" or the "min" over the heads, in a metric of pairs over those of two different heads;
/// with "[1.0]" the mean over what it says of head 0 of layer 1. NaN is left out. Throws UsageError when `reduction` is
/// none of these, or there is no such head.
QuantityCurve curve_of_metric(const Metric& metric, const std::string& reduction);

/// The number of heads that each row of /heads/role calls `role`.
QuantityCurve curve_of_role(const Metric& roles, const std::string& role);

/// The row to take of a series: the newest, or the newest up to `step`; nothing before its first row.
std::optional<std::size_t> row_at(const std::vector<std::int64_t>& steps, std::optional<std::int64_t> step);

/// The area under a curve between its first and last row of a window, by trapezoids, divided by the steps from the one
/// to the other: the curve's mean there, in its own units. Rows without a number are left out: the curve is a straight
/// line across.
struct CurveArea {
    double mean;               ///< NaN when fewer than two rows have a number
    std::int64_t first, last;  ///< steps of the rows that it begins and ends with; -1 without
};
/// Rows of the steps `from` to `to`, both included.
CurveArea area_of(const QuantityCurve& curve, std::optional<std::int64_t> from, std::optional<std::int64_t> to);

}  // namespace headscope::experiments
