#include "experiments/cli/sparkline.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

namespace headscope::experiments::cli {

namespace {

/// Of those that are finite; each is divided first, so that the sum of huge ones is finite too.
double mean_of(std::span<const double> values) {
    const auto finite =
        static_cast<double>(std::count_if(values.begin(), values.end(), [](double x) { return std::isfinite(x); }));
    if (finite == 0) return std::numeric_limits<double>::quiet_NaN();
    double mean = 0;
    for (const double value : values)
        if (std::isfinite(value)) mean += value / finite;
    return mean;
}

}  // namespace

std::string sparkline(std::span<const double> values) {
    constexpr std::array blocks{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    const std::size_t count = std::min(values.size(), sparkline_columns);
    std::vector<double> means;
    double highest = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t begin = i * values.size() / count, end = (i + 1) * values.size() / count;
        means.push_back(mean_of(values.subspan(begin, end - begin)));
        if (means.back() > highest) highest = means.back();
    }
    std::string line;
    for (const double mean : means) {
        if (std::isnan(mean)) {
            line += "·";
            continue;
        }
        const double share = highest > 0 ? std::max(mean / highest, 0.0) : 0;
        line += blocks[std::min(static_cast<std::size_t>(share * blocks.size()), blocks.size() - 1)];
    }
    return line;
}

}  // namespace headscope::experiments::cli
