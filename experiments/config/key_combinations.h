// What keys of a config say together: defaults that follow from other keys, and combinations that cannot be.
#pragma once

#include "experiments/config/reader.h"

namespace headscope::experiments {

/// Fills in head_dim, d_ff and max_len where they were not given, and adds a problem for every impossible combination.
/// Keys whose own value was refused are left out of it.
void derive_and_check(Config& config, const ReadKeys& reading, Problems& problems);

}  // namespace headscope::experiments
