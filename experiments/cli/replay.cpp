#include <fmt/format.h>

#include "experiments/cli/progress.h"
#include "experiments/cli/verbs.h"
#include "experiments/training/run.h"

namespace headscope::experiments::cli {

void replay(const ReplayArguments& arguments, const std::atomic<bool>& stop) {
    ProgressPrinter printer(stderr);
    const ReplayResult result = replay_run(arguments.run, arguments.from, arguments.to, arguments.overrides,
                                           {.out = arguments.out, .hooks = hooks_of(printer, stop)});
    printer.erase();
    fmt::print("{}/log.h5: steps {} to {} of {}; ", result.folder, result.from, result.to, arguments.run);
    if (result.compared.rows > 0)
        fmt::print("all {} rows that the run has too, in {} series, are the same bit for bit\n", result.compared.rows,
                   result.compared.series);
    else fmt::print("the run has no row of these steps, so nothing could be compared\n");
}

}  // namespace headscope::experiments::cli
