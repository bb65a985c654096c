#include "experiments/training/past_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <optional>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "experiments/storage/run_folder.h"
#include "experiments/training/belonging.h"
#include "experiments/training/progress_observer.h"
#include "experiments/training/training_loop.h"

namespace headscope::experiments {
namespace {

namespace fs = std::filesystem;

/// NaN, the loss of a batch without scored targets, has many bit patterns of one meaning.
bool same_bits(double a, double b) { return std::memcmp(&a, &b, sizeof a) == 0 || (std::isnan(a) && std::isnan(b)); }

bool same_bits(const Tensor& a, const Tensor& b) {
    return a.dtype() == b.dtype() && a.shape() == b.shape() &&
           std::memcmp(a.bytes(), b.bytes(), static_cast<std::size_t>(a.numel()) * size_of(a.dtype())) == 0;
}

void read_rows(const LogReader& log, PastRun& run) {
    const Series loss = log.series("train/loss"), lr = log.series("train/lr"),
                 grad_norm = log.series("train/grad_norm"), eval = log.series("eval/loss");
    for (std::size_t i = 0; i < loss.steps.size(); ++i)
        run.train_rows[loss.steps[i]] = {loss.values[i], lr.values[i], grad_norm.values[i]};
    for (std::size_t i = 0; i < eval.steps.size(); ++i) run.eval_losses[eval.steps[i]] = eval.values[i];
}

/// The best evaluation among those at or before `step`, as training counts them.
BestEvaluation best_until(const PastRun& run, std::int64_t step) {
    BestEvaluation best;
    for (const auto& [evaluated, loss] : run.eval_losses)
        if (evaluated <= step && evaluated % run.experiment.config_at(evaluated).eval.every == 0)
            best.count(evaluated, loss);
    return best;
}

/// The newest good checkpoint at or before `step`; nothing: the run's start, with its initial weights.
std::optional<Checkpoint> nearest_checkpoint(const PastRun& run, std::int64_t step, const RunHooks& hooks) {
    std::vector<std::int64_t> steps = list_checkpoints(run.paths.checkpoints);
    std::reverse(steps.begin(), steps.end());
    for (const std::int64_t candidate : steps) {
        if (candidate > step) continue;
        try {
            return load_checkpoint(run.paths.checkpoints + "/" + checkpoint_name(candidate));
        } catch (const IoError& error) {
            if (candidate == step) throw;
            if (hooks.on_message) hooks.on_message(error.what());
        }
    }
    const std::string start = run.paths.checkpoints + "/" + start_checkpoint_name;
    if (run.first_step == 0) return std::nullopt;
    Checkpoint first = load_checkpoint(start);
    if (first.step != run.first_step)
        throw IoError(
            fmt::format("{}: holds step {}, and the fork begins at step {}", start, first.step, run.first_step));
    return first;
}

[[noreturn]] void fail_check(const PastRun& run, const std::string& what) {
    std::string message = fmt::format(
        "{}: {}; what was computed is not the run's history, and nothing of it is kept. Data, checkpoint or program "
        "have changed since it was trained",
        run.paths.folder, what);
    for (const std::string& warning : run.warnings) message += "\n" + warning;
    throw CheckFailed(message);
}

[[noreturn]] void refuse_other_data(const PastRun& run, const std::string& why) {
    throw UsageError(fmt::format("{}; {} takes the run's own data: put them back, or name them (task.path=FILE)",
                                 run.other_data, why));
}

}  // namespace

ConfigHistory config_history_of(const LogReader& log, const Config& config) {
    const std::string history = log.config_history();
    if (!history.empty()) return read_config_history(history, log.config_history_place(), config);
    return {{0, with_resume_settings(config, parse_config(log.resolved_config(), log.resolved_config_place()))}};
}

LogReader log_of_past_run(const std::string& folder) {
    const RunPaths paths(folder);
    if (!fs::is_directory(folder)) throw UsageError("there is no run folder " + folder);
    const bool has_log = path_exists(paths.log), has_config = path_exists(paths.config);
    if (!has_log && !has_config)
        throw UsageError(folder + " holds no config.toml and no log.h5; name the folder of a run");
    if (!has_log) throw UsageError(folder + " has no log.h5 (yet): nothing of the run is known");
    LogReader log(paths.log);
    const std::optional<Lineage> lineage = log.lineage();
    if (lineage && lineage->kind == "replay")
        throw UsageError(fmt::format("{} is a replay of {}; name that run", folder, lineage->parent));
    if (!has_config) throw UsageError(folder + " holds no config.toml; name the folder of a run");
    return log;
}

PastRun open_past_run(const std::string& folder, const std::vector<std::string>& overrides, bool any_data) {
    PastRun run{.paths = RunPaths(folder),
                .experiment = {},
                .data_sha256 = {},
                .other_data = {},
                .run_id = {},
                .warnings = {},
                .train_rows = {},
                .eval_losses = {}};
    const LogReader log = log_of_past_run(folder);
    const std::optional<Lineage> lineage = log.lineage();
    Config config = load_config(run.paths.config, overrides);
    find_moved_data(config, folder, overrides);
    run.experiment = build_experiment(std::move(config));
    const Config logged = parse_config(log.resolved_config(), log.resolved_config_place());
    if (config_identity(logged) != config_identity(run.experiment.config))
        throw UsageError(fmt::format("{} is the config of another run than {} tells of; the latter holds its own in {}",
                                     run.paths.config, run.paths.log, log.resolved_config_place()));
    run.experiment.history = overridden(config_history_of(log, run.experiment.config), 0, overrides);
    run.data_sha256 = log.data_sha256().value_or(run.experiment.task->data_sha256());
    run.other_data = data_difference(run.experiment, folder, log.data_sha256()).value_or("");
    if (!run.other_data.empty() && !any_data) refuse_other_data(run, "looking back");
    run.run_id = log.run_id();
    run.finished = log.state() == "finished";
    run.warnings = log.differences_noted();
    for (std::string& difference : log.differences_to_this_program()) run.warnings.push_back(std::move(difference));
    if (lineage && lineage->kind == "fork") run.first_step = lineage->parent_step;
    read_rows(log, run);
    run.last_step = run.first_step;
    if (!run.train_rows.empty()) run.last_step = std::max(run.last_step, run.train_rows.rbegin()->first);
    if (!run.eval_losses.empty()) run.last_step = std::max(run.last_step, run.eval_losses.rbegin()->first);
    const std::vector<std::int64_t> checkpoints = list_checkpoints(run.paths.checkpoints);
    if (!checkpoints.empty() && checkpoints.back() <= run.experiment.config.train.steps)
        run.last_step = std::max(run.last_step, checkpoints.back());
    return run;
}

void require_step(const PastRun& run, std::int64_t step) {
    if (step >= run.first_step && step <= run.last_step) return;
    std::string message =
        fmt::format("{} has steps {} to {}, not {}", run.paths.folder, run.first_step, run.last_step, step);
    if (step >= 0 && step < run.first_step) message += "; it is a fork, and what is before is its parent's";
    throw UsageError(message);
}

void HistoryCheck::after_step(TrainingState& state, const StepResult& result) {
    const std::int64_t number = state.steps_done() - 1;
    const auto row = run_.train_rows.find(number);
    if (row == run_.train_rows.end()) return;
    const auto compare = [&](const char* name, double then, double now) {
        if (same_bits(then, now)) return;
        std::string what = fmt::format("{} of step {} was {:.17g} and is {:.17g} now", name, number, then, now);
        if (std::strcmp(name, "lr") == 0)
            what += fmt::format(
                " (a run that an older version resumed with other train.steps does not tell from which step on; "
                "`headscope replay {} train.steps=N` computes by the schedule of N steps)",
                run_.paths.folder);
        fail_check(run_, what);
    };
    compare("lr", row->second.lr, result.lr);
    compare("loss", row->second.loss, result.loss);
    compare("grad_norm", row->second.grad_norm, result.grad_norm);
}

void HistoryCheck::keep_weights(TrainingState& state, bool) {
    if (!checkpoints_) return;
    const std::string path = run_.paths.checkpoints + "/" + checkpoint_name(state.steps_done());
    Checkpoint then;
    try {
        if (!path_exists(path)) return;
        then = load_checkpoint(path);
    } catch (const IoError&) {
        return;
    }
    const Checkpoint now = state.checkpoint();
    const auto compare = [&](const auto& old_tensors, const auto& new_tensors) {
        for (const auto& [name, tensor] : new_tensors) {
            const auto old = old_tensors.find(name);
            if (old == old_tensors.end() || !same_bits(old->second, tensor))
                fail_check(run_, fmt::format("{} differs from that of {}", name, path));
        }
    };
    compare(then.model, now.model);
    compare(then.optimizer, now.optimizer);
}

void bring_to(const PastRun& run, std::int64_t step, TrainingState& state, const RunHooks& hooks) {
    require_step(run, step);
    if (const std::optional<Checkpoint> checkpoint = nearest_checkpoint(run, step, hooks)) {
        const LogReader log(run.paths.log);
        if (!belongs(*checkpoint, run.experiment.config, &log))
            throw UsageError(fmt::format("checkpoint {} in {} belongs to another config or other data than {} and {}",
                                         checkpoint_name(checkpoint->step), run.paths.checkpoints, run.paths.config,
                                         run.paths.log));
        state.restore(*checkpoint);
    }
    const std::int64_t start = state.steps_done();
    if (hooks.on_message)
        for (const std::string& warning : run.warnings) hooks.on_message(warning);
    if (start == step) return;
    if (!run.other_data.empty())
        refuse_other_data(run, fmt::format("step {} has no checkpoint, and training up to it again", step));
    if (hooks.on_message)
        hooks.on_message(fmt::format("steps {} to {} are computed again{}", start, step,
                                     start > run.first_step ? ", from the checkpoint there" : ", from the start"));
    HistoryCheck history(run, false);
    ProgressObserver progress(hooks, start, step, state.tokens_seen());
    try {
        run_training_loop(state, {&history, &progress}, {.step = step, .looks_at_weights = false}, hooks.stop);
    } catch (const StopRequested&) {
        throw Stopped("stopped by a signal; nothing is left behind");
    }
}

Checkpoint state_at(const PastRun& run, std::int64_t step, const RunHooks& hooks) {
    TrainingState state(run.experiment);
    bring_to(run, step, state, hooks);
    Checkpoint checkpoint = state.checkpoint();
    checkpoint.best = best_until(run, step);
    return checkpoint;
}

}  // namespace headscope::experiments
