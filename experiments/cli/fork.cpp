#include "experiments/training/fork.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "experiments/base/files.h"
#include "experiments/cli/progress.h"
#include "experiments/cli/verbs.h"
#include "experiments/storage/run_lock.h"
#include "experiments/training/training_loop.h"

namespace headscope::experiments::cli {

void fork(const ForkArguments& arguments, const std::atomic<bool>& stop) {
    const PastRun parent = open_past_run(arguments.run);
    const Experiment changed = build_experiment(load_config(parent.paths.config, arguments.overrides, true));
    const std::string out =
        arguments.out.empty() ? fmt::format("{}-fork-{}", without_slash(arguments.run), arguments.step) : arguments.out;
    ProgressPrinter printer(stderr);
    make_fork(parent, changed, arguments.step, fmt::format("{}", fmt::join(arguments.overrides, " ")), out,
              past_run_hooks(printer, stop));
    const TrainingHooks hooks = report_to(printer, stop);
    {
        const RunLock lock(out, hooks.on_message);
        train(changed, out, true, hooks);
    }
    printer.erase();
    inspect(out, arguments.json);
}

}  // namespace headscope::experiments::cli
