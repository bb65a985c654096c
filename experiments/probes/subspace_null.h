// What overlap-like metrics are for random subspaces.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace headscope::experiments {

/// Mean and standard deviation of a metric for random heads; and, where they were measured, on how many draws and with
/// which standard errors. 0 draws: a closed form.
struct NullDistribution {
    double mean, std;
    std::int64_t draws = 0;
    double mean_error = 0, std_error = 0;
};

/// Of ||U^T V||_F^2 / k for independent uniformly random subspaces of k of d dimensions. With k >= d it is 1.
inline NullDistribution subspace_overlap_null(std::int64_t dimensions, std::int64_t width) {
    const auto d = static_cast<double>(dimensions), k = std::min(static_cast<double>(width), d);
    return {k / d, k < d ? std::sqrt(2.0) * (d - k) / (d * std::sqrt((d - 1) * (d + 2))) : 0.0};
}

}  // namespace headscope::experiments
