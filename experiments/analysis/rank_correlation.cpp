#include "experiments/analysis/rank_correlation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "autograd/error.h"

namespace headscope::experiments {
namespace {

/// 1 for the smallest, ...; values that are equal have the mean of the ranks that they take up.
std::vector<double> ranks(std::span<const double> values) {
    std::vector<std::size_t> order(values.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::stable_sort(order, {}, [&](std::size_t i) { return values[i]; });
    std::vector<double> result(values.size());
    for (std::size_t begin = 0; begin < order.size();) {
        std::size_t end = begin + 1;
        while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
        const double mean = (static_cast<double>(begin + 1) + static_cast<double>(end)) / 2;
        for (; begin < end; ++begin) result[order[begin]] = mean;
    }
    return result;
}

}  // namespace

double rank_correlation(std::span<const double> a, std::span<const double> b) {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    if (a.size() != b.size())
        throw Error("rank_correlation: values must come in pairs; there are " + std::to_string(a.size()) + " and " +
                    std::to_string(b.size()));
    const auto is_nan = [](double value) { return std::isnan(value); };
    if (a.size() < 3 || std::ranges::any_of(a, is_nan) || std::ranges::any_of(b, is_nan)) return nan;
    const std::vector<double> rank_a = ranks(a), rank_b = ranks(b);
    const double mean = (static_cast<double>(a.size()) + 1) / 2;  // of ranks, ties or not
    double product = 0, square_a = 0, square_b = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        product += (rank_a[i] - mean) * (rank_b[i] - mean);
        square_a += (rank_a[i] - mean) * (rank_a[i] - mean);
        square_b += (rank_b[i] - mean) * (rank_b[i] - mean);
    }
    return square_a > 0 && square_b > 0 ? product / std::sqrt(square_a * square_b) : nan;
}

}  // namespace headscope::experiments
