// Nulls without a closed form, measured on draws of random heads.
//
// Each draw has random numbers of its own, so draws run in parallel and a null has the same bits for any number of
// threads. It depends on the shape of the heads alone; a process measures each shape once.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string_view>
#include <utility>
#include <vector>

#include "autograd/parallel.h"
#include "experiments/probes/random_heads.h"
#include "experiments/probes/subspace_null.h"

namespace headscope::experiments {

/// Draws of every measured null: a standard deviation is then known to about 2 %.
constexpr std::int64_t draws_of_null = 1000;

/// draw(RandomHeads&) for each draw, in the order of the draws.
template <class Draw>
auto draw_heads(std::string_view stream, Draw&& draw) {
    std::vector<decltype(draw(std::declval<RandomHeads&>()))> values(static_cast<std::size_t>(draws_of_null));
    parallel_for(draws_of_null, 20, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
            RandomHeads random(stream, static_cast<std::uint64_t>(i));
            values[static_cast<std::size_t>(i)] = draw(random);
        }
    });
    return values;
}

/// The null of a metric that has these values, two or more, for random heads.
NullDistribution null_of(const std::vector<double>& values);

/// What was computed for heads of some shape.
template <class Value>
class PerShape {
public:
    template <class Compute>
    Value get(std::int64_t d, std::int64_t k, Compute&& compute) {
        const std::lock_guard lock(mutex_);
        auto found = known_.find({d, k});
        if (found == known_.end()) found = known_.emplace(std::pair{d, k}, compute()).first;
        return found->second;
    }

private:
    std::mutex mutex_;
    std::map<std::pair<std::int64_t, std::int64_t>, Value> known_;
};

}  // namespace headscope::experiments
