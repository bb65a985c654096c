// Checks that involve several keys: defaults that follow from other keys, and combinations that are refused.
#pragma once

#include "experiments/config/reader.h"

namespace headscope::experiments {

/// Fills in head_dim, kv_heads, d_ff and max_len where they were not given, and adds a problem for every combination
/// that is refused. Keys whose own value was refused are not checked again.
void derive_and_check(Config& config, const ReadKeys& reading, Problems& problems);

}  // namespace headscope::experiments
