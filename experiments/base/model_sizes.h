#pragma once

#include <cstdint>

namespace headscope::experiments {

/// What the keys of an attention or a position may be checked against.
struct ModelSizes {
    std::int64_t d_model;
    std::int64_t head_dim;  ///< 0 when it is unknown, because of another error
};

}  // namespace headscope::experiments
