// What an ablation found, as tables and as JSON.
#pragma once

#include <string>
#include <vector>

#include "experiments/analysis/ablation.h"

namespace headscope::experiments::cli {

/// Where the numbers are from and what they are to be compared with.
struct AblationReport {
    std::string run;
    std::string file;
    std::vector<Floor> floors, references;  ///< of the task
};

/// A row per head, at most 80 columns wide.
std::string to_text(const AblationResult& result, const AblationReport& report);
/// One object; what was not measured is null.
std::string to_json(const AblationResult& result, const AblationReport& report);

}  // namespace headscope::experiments::cli
