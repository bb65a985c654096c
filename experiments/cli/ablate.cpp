#include <fmt/format.h>

#include <optional>

#include "experiments/analysis/ablation_file.h"
#include "experiments/base/errors.h"
#include "experiments/cli/ablation_text.h"
#include "experiments/cli/progress.h"
#include "experiments/cli/verbs.h"
#include "experiments/training/evaluation.h"
#include "experiments/training/past_run.h"

namespace headscope::experiments::cli {

namespace {

/// The state asked for, or that of the newest checkpoint that is whole.
Checkpoint load(const PastRun& run, std::optional<std::int64_t> step, const RunHooks& hooks) {
    if (step) return state_at(run, *step, hooks);
    std::vector<std::string> passed_over;
    const std::optional<Checkpoint> newest = load_newest_good(run.paths.checkpoints, passed_over);
    if (!newest && passed_over.empty())
        throw UsageError("ablate: " + run.paths.folder + " has no checkpoint; --step N computes the weights again");
    if (!newest) throw IoError(passed_over.back() + "; --step N computes the weights again");
    for (const std::string& message : passed_over) hooks.on_message(message);
    return state_at(run, newest->step, hooks);
}

}  // namespace

void ablate(const AblateArguments& arguments, const std::atomic<bool>& stop) {
    const PastRun run = open_past_run(arguments.run);
    const Task& task = *run.experiment.task;
    const std::vector<Batch> batches = evaluation_batches(run.experiment);
    if (batches.empty())
        throw UsageError("ablate: " + run.paths.folder +
                         " has no evaluation data, and a change of the training loss would say little; train with "
                         "task.eval_path (task `tokens`)");
    const std::string file = arguments.out.empty() ? run.paths.folder + "/ablation.h5" : arguments.out;
    check_ablation_file(file, run.run_id, ablation_shape(run.experiment.model, task, batches, arguments.draws));

    ProgressPrinter printer(stderr);
    const Checkpoint state = load(run, arguments.step, hooks_of(printer, stop));
    const std::unique_ptr<nn::Transformer> model = build_model(run.experiment);
    model->load_state_dict(state.model);
    AblationOptions options{.seed = run.experiment.config.seed, .draws = arguments.draws};
    options.on_pass = [&](std::int64_t done, std::int64_t passes) {
        if (stop.load()) throw Stopped("ablate: stopped by a signal; " + file + " is as it was");
        printer.update(fmt::format("{} of {} passes over the evaluation data", done, passes));
    };
    AblationResult result = ablate_heads(*model, task, batches, options);
    result.step = state.step;
    write_ablation(file, run.run_id, result);
    printer.erase();
    const AblationReport report{run.paths.folder, file, task.floors()};
    fmt::print("{}", arguments.json ? to_json(result, report) : to_text(result, report));
}

}  // namespace headscope::experiments::cli
