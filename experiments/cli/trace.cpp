#include "experiments/analysis/trace.h"

#include <fmt/format.h>

#include "experiments/cli/progress.h"
#include "experiments/cli/verbs.h"

namespace headscope::experiments::cli {

void trace(const TraceArguments& arguments, const std::atomic<bool>& stop) {
    ProgressPrinter printer(stderr);
    const TraceResult result =
        trace_run(arguments.run, arguments.step, arguments.tokens, arguments.out, hooks_of(printer, stop));
    printer.erase();
    fmt::print("{}: loss {:.6f} over {} scored targets, weights of step {}\n", arguments.out, result.loss,
               result.scored, result.step);
}

}  // namespace headscope::experiments::cli
