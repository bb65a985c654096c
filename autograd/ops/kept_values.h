// What a fused op keeps for its backward pass beyond its inputs, and what it computes again. For sources only.
#pragma once

#include <cstdint>

#include "autograd/tensor.h"

namespace headscope {

/// Intermediate values smaller than this are kept for the backward pass: in small models every pass over memory counts.
/// Larger ones are computed again, which costs a few percent of a step and saves most of the memory. The rule depends
/// on shapes alone, so that bits do not depend on the machine.
inline constexpr std::int64_t most_kept_bytes = 4 << 20;

inline bool is_worth_keeping(std::int64_t elements, DType dtype) {
    return elements * static_cast<std::int64_t>(size_of(dtype)) < most_kept_bytes;
}

}  // namespace headscope
