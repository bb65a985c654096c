// Random draws that several tasks share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "autograd/random.h"

namespace headscope::experiments {

/// The random numbers of one sequence: those of a stream from `first` on, by index from 0.
class SequenceRandom {
public:
    SequenceRandom(const RandomStream& stream, std::int64_t first) : stream_(stream), first_(first) {}

    /// Uniform over 0 .. bound-1.
    std::int64_t below(std::int64_t bound, std::int64_t index) const {
        return static_cast<std::int64_t>(stream_.below(static_cast<std::uint64_t>(bound), number(index)));
    }
    /// Uniform in [0, 1).
    double uniform(std::int64_t index) const { return stream_.uniform(number(index)); }

private:
    std::uint64_t number(std::int64_t index) const { return static_cast<std::uint64_t>(first_ + index); }

    RandomStream stream_;
    std::int64_t first_;
};

/// `count` different numbers of 0 .. bound-1, every ordered choice equally likely: the first steps of a Fisher-Yates
/// shuffle. Uses the numbers first .. first+count-1 of `random`. count <= bound.
inline std::vector<std::int64_t> draw_distinct(std::int64_t count, std::int64_t bound, const SequenceRandom& random,
                                               std::int64_t first) {
    std::vector<std::int64_t> values(static_cast<std::size_t>(bound));
    std::iota(values.begin(), values.end(), 0);
    for (std::int64_t i = 0; i < count; ++i)
        std::swap(values[static_cast<std::size_t>(i)],
                  values[static_cast<std::size_t>(i + random.below(bound - i, first + i))]);
    values.resize(static_cast<std::size_t>(count));
    return values;
}

}  // namespace headscope::experiments
