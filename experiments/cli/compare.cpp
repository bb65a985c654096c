#include <fmt/format.h>

#include "experiments/cli/comparison_text.h"
#include "experiments/cli/verbs.h"

namespace headscope::experiments::cli {

void compare(const std::vector<std::string>& runs, bool json) {
    std::vector<ComparedRun> compared;
    for (const std::string& run : runs) compared.push_back(read_compared_run(run));
    const Comparison comparison = experiments::compare(compared);
    fmt::print("{}\n", json ? to_json(comparison) : to_text(comparison));
}

}  // namespace headscope::experiments::cli
