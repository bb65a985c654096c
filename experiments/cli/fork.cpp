#include "experiments/cli/progress.h"
#include "experiments/cli/verbs.h"
#include "experiments/training/run.h"

namespace headscope::experiments::cli {

void fork(const ForkArguments& arguments, const std::atomic<bool>& stop) {
    ProgressPrinter printer(stderr);
    const RunResult result = fork_run(arguments.run, arguments.step, arguments.overrides,
                                      {.out = arguments.out, .hooks = hooks_of(printer, stop)});
    printer.erase();
    inspect(result.folder, arguments.json);
}

}  // namespace headscope::experiments::cli
