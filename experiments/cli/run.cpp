#include <fmt/format.h>

#include <filesystem>
#include <optional>
#include <span>

#include "autograd/profile.h"
#include "experiments/base/files.h"
#include "experiments/cli/profile_text.h"
#include "experiments/cli/progress.h"
#include "experiments/cli/summary_text.h"
#include "experiments/cli/verbs.h"
#include "experiments/storage/run_folder.h"
#include "experiments/storage/run_lock.h"
#include "experiments/training/training_loop.h"

namespace headscope::experiments::cli {

void run(const RunArguments& arguments, const std::atomic<bool>& stop) {
    // Everything that can be wrong with the config and the data is found before the folder is made.
    const Experiment experiment = build_experiment(load_config(arguments.config, arguments.overrides));
    const Config& config = experiment.config;
    const std::string folder =
        arguments.out.empty() ? fmt::format("runs/{}-s{}", config.name, config.seed) : arguments.out;
    create_run_folder(folder);
    ProgressPrinter printer(stderr);
    const TrainingHooks hooks = report_to(printer, stop);
    std::optional<Profile> profile;
    try {
        const RunLock lock(folder, hooks.on_message);
        const std::string text = config.resolved();
        write_file_atomically(RunPaths(folder).config, std::as_bytes(std::span(text)));
        if (arguments.profile) profile.emplace();
        train(experiment, folder, false, hooks);
        printer.erase();
    } catch (...) {
        // A run that failed before its first log has nothing to resume and nothing to show.
        std::error_code ignored;
        const auto log = std::filesystem::status(RunPaths(folder).log, ignored);
        if (log.type() == std::filesystem::file_type::not_found) std::filesystem::remove_all(folder, ignored);
        throw;
    }
    if (!profile) {
        inspect(folder, arguments.json);
        return;
    }
    const RunSummary summary = read_summary(folder);
    fmt::print("{}\n", arguments.json ? add_profile(to_json(summary), profile->rows())
                                      : to_text(summary) + "\n" + to_text(profile->rows()));
}

}  // namespace headscope::experiments::cli
