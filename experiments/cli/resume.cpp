#include <fmt/format.h>

#include <optional>
#include <span>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "experiments/cli/progress.h"
#include "experiments/cli/verbs.h"
#include "experiments/config/config.h"
#include "experiments/storage/checkpoint.h"
#include "experiments/storage/log_seal.h"
#include "experiments/storage/run_folder.h"
#include "experiments/storage/run_lock.h"
#include "experiments/training/training_loop.h"

namespace headscope::experiments::cli {

namespace {

/// The last checkpoint of a finished run, if that is there and whole. Throws IoError when there are checkpoints and
/// none is whole.
std::optional<Checkpoint> finished_at(const RunPaths& paths, const Config& config) {
    std::vector<std::string> passed_over;
    std::optional<Checkpoint> newest = load_newest_good(paths.checkpoints, passed_over);
    if (newest && is_finished(config, *newest) && passed_over.empty()) return newest;
    if (newest) return std::nullopt;
    if (!passed_over.empty())
        throw IoError(fmt::format("resume: no checkpoint of {} is whole; remove {} to start from step 0 again\n{}",
                                  paths.folder, paths.checkpoints, fmt::join(passed_over, "\n")));
    return std::nullopt;
}

/// A run that has checkpoints cannot go on without its log; better known before anything is changed.
void require_log(const RunPaths& paths) {
    try {
        open_log(paths.log);
    } catch (const IoError& error) {
        const bool fork = path_exists(paths.checkpoints + "/" + start_checkpoint_name);
        throw IoError(
            fmt::format("{}; a run cannot go on without its log; {} trains it again, to the same bits", error.what(),
                        fork ? "making the fork again" : "`headscope run " + paths.config + " --out FOLDER`"));
    }
}

}  // namespace

void resume(const ResumeArguments& arguments, const std::atomic<bool>& stop) {
    const RunPaths paths(arguments.run);
    if (!path_exists(paths.config))
        throw UsageError("resume: " + arguments.run +
                         " holds no config.toml; name the folder of a run, or remove this one and run again");
    check_resume_overrides(arguments.overrides);
    ProgressPrinter printer(stderr);
    const TrainingHooks hooks = report_to(printer, stop);
    const RunLock lock(paths.folder, hooks.on_message);
    Config config = load_config(paths.config, arguments.overrides);
    if (const std::optional<Checkpoint> last = finished_at(paths, config)) {
        fmt::print("{} is finished at step {}; nothing to do ({} goes further)\n", arguments.run, last->step,
                   last->step == config.train.steps ? "train.steps=N" : "eval.patience=0");
        return;
    }
    const Experiment experiment = build_experiment(std::move(config));
    remove_temporary_files(paths.folder);
    remove_temporary_files(paths.checkpoints);
    // The folder says what the run is from now on; checkpoints past the new end are train()'s to refuse.
    const std::vector<std::int64_t> checkpoints = list_checkpoints(paths.checkpoints);
    if (!checkpoints.empty()) require_log(paths);
    if (!arguments.overrides.empty() && (checkpoints.empty() || checkpoints.back() < experiment.config.train.steps)) {
        const std::string text = experiment.config.resolved();
        write_file_atomically(paths.config, std::as_bytes(std::span(text)));
    }
    train(experiment, arguments.run, true, hooks);
    printer.erase();
    inspect(arguments.run, false);
}

}  // namespace headscope::experiments::cli
