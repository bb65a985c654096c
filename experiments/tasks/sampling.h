// Random draws that several tasks share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "autograd/random.h"

namespace headscope {

/// `count` different numbers of 0 .. bound-1, every ordered choice equally likely: the first steps of a Fisher-Yates
/// shuffle. Uses the numbers first .. first+count-1 of `random`. count <= bound.
inline std::vector<std::int64_t> draw_distinct(std::int64_t count, std::int64_t bound, const RandomStream& random,
                                               std::uint64_t first) {
    std::vector<std::int64_t> values(static_cast<std::size_t>(bound));
    std::iota(values.begin(), values.end(), 0);
    const auto size = static_cast<std::size_t>(count);
    for (std::size_t i = 0; i < size; ++i) std::swap(values[i], values[i + random.below(values.size() - i, first + i)]);
    values.resize(size);
    return values;
}

}  // namespace headscope
