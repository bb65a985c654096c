// What the run ran on, for the log.
#pragma once

#include <string>

namespace headscope::experiments {

std::string software_version();  ///< "0.1.0"
std::string git_commit();        ///< of the build, or "unknown"
std::string compiler();          ///< "GCC 12.2.0"
std::string instruction_set();   ///< what this binary was built for: "avx512f", "avx2", ...
std::string cpu_model();         ///< of /proc/cpuinfo, or "unknown"
std::string utc_now();           ///< "2025-01-31T23:59:59Z"
std::string new_run_id();        ///< 16 hex digits that no two runs share

}  // namespace headscope::experiments
