#include "experiments/training/replay.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "experiments/base/files.h"
#include "experiments/cli/progress.h"
#include "experiments/cli/verbs.h"

namespace headscope::experiments::cli {

void replay(const ReplayArguments& arguments, const std::atomic<bool>& stop) {
    check_replay_overrides(arguments.overrides);
    const PastRun run = open_past_run(arguments.run, arguments.overrides);
    const std::int64_t from = arguments.from.value_or(run.first_step), to = arguments.to.value_or(run.last_step);
    const std::string out =
        arguments.out.empty() ? fmt::format("{}-replay-{}-{}", without_slash(arguments.run), from, to) : arguments.out;
    ProgressPrinter printer(stderr);
    const LogComparison compared = replay(run, from, to, fmt::format("{}", fmt::join(arguments.overrides, " ")), out,
                                          past_run_hooks(printer, stop));
    printer.erase();
    fmt::print("{}/log.h5: steps {} to {} of {}; ", out, from, to, arguments.run);
    if (compared.rows > 0)
        fmt::print("all {} rows that the run has too, in {} series, are the same bit for bit\n", compared.rows,
                   compared.series);
    else fmt::print("the run has no row of these steps, so nothing could be compared\n");
}

}  // namespace headscope::experiments::cli
