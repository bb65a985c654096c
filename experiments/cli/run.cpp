#include "experiments/training/run.h"

#include <fmt/format.h>

#include "autograd/profile.h"
#include "experiments/cli/profile_text.h"
#include "experiments/cli/progress.h"
#include "experiments/cli/summary_text.h"
#include "experiments/cli/verbs.h"

namespace headscope::experiments::cli {

void run(const RunArguments& arguments, const std::atomic<bool>& stop) {
    // Everything that can be wrong with the config and the data is found before the folder is made.
    const Experiment experiment = build_experiment(load_config(arguments.config, arguments.overrides));
    ProgressPrinter printer(stderr);
    std::optional<Profile> profile;
    if (arguments.profile) profile.emplace();
    const RunResult result = start_run(experiment, {.out = arguments.out, .hooks = hooks_of(printer, stop)});
    printer.erase();
    if (!profile) {
        inspect(result.folder, arguments.json);
        return;
    }
    const RunSummary summary = read_summary(result.folder);
    fmt::print("{}\n", arguments.json ? add_profile(to_json(summary), profile->rows())
                                      : to_text(summary) + "\n" + to_text(profile->rows()));
}

}  // namespace headscope::experiments::cli
