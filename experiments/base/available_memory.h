// How much memory this process may still take.
#pragma once

#include <optional>

namespace headscope::experiments {

/// MemAvailable of /proc/meminfo in bytes; nothing when the system does not tell.
std::optional<double> available_memory();

}  // namespace headscope::experiments
