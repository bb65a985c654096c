// What a fused op keeps for its backward pass beyond its inputs, and what it computes again. For sources only.
#pragma once

#include <cstdint>

#include "autograd/tensor.h"

namespace headscope {

/// Intermediate values that could be computed again are kept below this size, for which a model's speed depends on
/// every pass over memory; larger ones are what memory is full of, and computing them again costs a few percent of a
/// step. A rule of shapes alone, so that bits do not depend on the machine.
inline constexpr std::int64_t most_kept_bytes = 4 << 20;

inline bool is_worth_keeping(std::int64_t elements, DType dtype) {
    return elements * static_cast<std::int64_t>(size_of(dtype)) < most_kept_bytes;
}

}  // namespace headscope
