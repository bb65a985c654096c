#include <fmt/format.h>

#include <optional>

#include "experiments/analysis/ablation_file.h"
#include "experiments/base/errors.h"
#include "experiments/cli/ablation_text.h"
#include "experiments/cli/output.h"
#include "experiments/cli/progress.h"
#include "experiments/cli/verb.h"
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

class Ablate : public Verb {
public:
    void declare(VerbOptions& options) override {
        options.required("run", run_, "the run's folder");
        options.optional("overrides", overrides_, data_overrides_doc);
        options.integer("--step", step_, {.smallest = 0},
                        "any step of the run (default: that of the newest good checkpoint)");
        options.integer("--draws", draws_, {1, 10000}, "random directions per head, for comparison (default 5)");
        options.optional("--out", out_, "HDF5 file to make or add to (default <run>/ablation.h5)");
        options.flag("--json", json_, "as JSON");
    }

    bool computes() const override { return true; }

    void run(const std::atomic<bool>& stop) override {
        check_data_overrides(overrides_);
        const PastRun run = open_past_run(run_, overrides_);
        if (run.experiment.model.num_layers == 0)
            throw UsageError("ablate: the model of " + run.paths.folder + " has no layers, so no head to take out");
        const Task& task = *run.experiment.task;
        const std::vector<Batch> batches = evaluation_batches(run.experiment);
        if (batches.empty())
            throw UsageError("ablate: " + run.paths.folder +
                             " has no evaluation data, and a change of the training loss would say little; train with "
                             "task.eval_path (task `tokens`)");
        const std::string file = out_.empty() ? run.paths.folder + "/ablation.h5" : out_;
        check_ablation_file(file, run.run_id, ablation_shape(run.experiment.model, task, batches, draws_));

        ProgressPrinter printer(stderr);
        const Checkpoint state = load(run, step_, hooks_of(printer, stop));
        const std::unique_ptr<nn::Transformer> model = build_model(run.experiment);
        model->load_state_dict(state.model);
        AblationOptions options{.seed = run.experiment.config.seed, .draws = draws_};
        options.on_pass = [&](std::int64_t done, std::int64_t passes) {
            if (stop.load()) throw Stopped("ablate: stopped by a signal; " + file + " is as it was");
            printer.update(fmt::format("{} of {} passes over the evaluation data", done, passes));
        };
        AblationResult result = ablate_heads(*model, task, batches, options);
        result.step = state.step;
        write_ablation(file, run.run_id, result);
        printer.erase();
        const AblationReport report{run.paths.folder, file, task.floors(), task.references()};
        print_text(json_ ? to_json(result, report) : to_text(result, report));
    }

private:
    std::string run_;
    std::vector<std::string> overrides_;
    std::optional<std::int64_t> step_;
    std::int64_t draws_ = 5;
    std::string out_;
    bool json_ = false;
};

const RegisterType<Verb> registered_ablate("ablate", "take out one head after the other: what the loss makes of it",
                                           [] { return std::make_unique<Ablate>(); });

}  // namespace

}  // namespace headscope::experiments::cli
