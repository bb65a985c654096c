#include <fmt/format.h>

#include "experiments/cli/summary_text.h"
#include "experiments/cli/verbs.h"

namespace headscope::experiments::cli {

void inspect(const std::string& run, bool json) {
    const RunSummary summary = read_summary(run);
    fmt::print("{}\n", json ? to_json(summary) : to_text(summary));
}

}  // namespace headscope::experiments::cli
