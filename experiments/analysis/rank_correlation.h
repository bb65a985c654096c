#pragma once

#include <span>

namespace headscope::experiments {

/// Spearman's rank correlation: Pearson's, of the ranks; equal values share the mean of their ranks. In [-1, 1]; NaN
/// for less than three pairs, when one side is constant, or when a value is NaN. Throws Error when lengths differ.
double rank_correlation(std::span<const double> a, std::span<const double> b);

}  // namespace headscope::experiments
