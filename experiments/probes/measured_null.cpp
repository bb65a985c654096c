#include "experiments/probes/measured_null.h"

#include <algorithm>
#include <cmath>

namespace headscope::experiments {

NullDistribution null_of(const std::vector<double>& values) {
    const auto n = static_cast<double>(values.size());
    // From the first value on, so that equal values have that mean and no standard deviation, without rounding.
    double mean = values.front(), squares = 0, fourths = 0;
    for (const double value : values) mean += (value - values.front()) / n;
    for (const double value : values) {
        const double square = (value - mean) * (value - mean);
        squares += square;
        fourths += square * square;
    }
    const double variance = squares / (n - 1), std = std::sqrt(variance);
    // Of the variance: sqrt((m4 - s^4) / n), m4 the fourth central moment. Of its root: that over 2 s.
    const double variance_error = std::sqrt(std::max(0.0, fourths / n - variance * variance) / n);
    return {mean, std, static_cast<std::int64_t>(values.size()), std / std::sqrt(n),
            std > 0 ? variance_error / (2 * std) : 0};
}

}  // namespace headscope::experiments
