// Random heads, for nulls without a closed form: the distribution of a metric for independent normal weights.
//
// A = U R for a d x k matrix of independent standard normals: U is uniform and independent of R, whose entries are all
// independent: R_ii^2 ~ chi^2 with d - i degrees of freedom (i from 0), normals above the diagonal (Bartlett 1933). So
// metrics that depend on the R's alone need k x k draws, not d x k. Of two heads, one can be rotated so that its U is
// the first k unit vectors; the other's part in that subspace is then its first k rows, all normal.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "autograd/random.h"
#include "experiments/probes/head_matrices.h"
#include "experiments/probes/subspace_null.h"

namespace headscope::experiments {

class RandomHeads {
public:
    /// The draws are always the same.
    explicit RandomHeads(std::string_view stream) : random_(0, stream) {}

    /// [rows, cols] of independent standard normals.
    Matrix normal(Eigen::Index rows, Eigen::Index cols);
    /// R above, [min(d, k), k].
    Matrix triangle(Eigen::Index d, Eigen::Index k);

private:
    double chi(Eigen::Index degrees);
    double next_normal() { return random_.normal(index_++); }

    RandomStream random_;
    std::uint64_t index_ = 0;
};

/// Mean and standard deviation of draw(RandomHeads&) for heads of that shape, from a few hundred draws; fewer for wide
/// heads, whose draws scatter less, so that it takes well below half a second.
template <class Draw>
NullDistribution measured_null(std::string_view name, const ProbeSetup& setup, Draw&& draw) {
    const std::int64_t k = std::min(setup.head_dim(), setup.d_model());
    const std::int64_t draws = std::clamp<std::int64_t>(10'000'000 / (k * k * k), 50, 1000);
    RandomHeads random(name);
    double sum = 0, squares = 0;
    for (std::int64_t i = 0; i < draws; ++i) {
        const double value = draw(random);
        sum += value;
        squares += value * value;
    }
    const double mean = sum / static_cast<double>(draws);
    return {mean, std::sqrt(std::max(0.0, squares / static_cast<double>(draws) - mean * mean))};
}

}  // namespace headscope::experiments
