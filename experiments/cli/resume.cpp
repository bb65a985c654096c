#include <fmt/format.h>

#include "experiments/cli/progress.h"
#include "experiments/cli/verbs.h"
#include "experiments/training/run.h"

namespace headscope::experiments::cli {

void resume(const ResumeArguments& arguments, const std::atomic<bool>& stop) {
    ProgressPrinter printer(stderr);
    const RunResult result = resume_run(arguments.run, arguments.overrides, {.hooks = hooks_of(printer, stop)});
    printer.erase();
    if (!result.was_finished) {
        inspect(arguments.run, false);
        return;
    }
    const Config config = load_config(arguments.run + "/config.toml", arguments.overrides);
    fmt::print("{} is finished at step {}; nothing to do ({} goes further)\n", arguments.run, result.steps_done,
               result.steps_done == config.train.steps ? "train.steps=N" : "eval.patience=0");
}

}  // namespace headscope::experiments::cli
