#include "experiments/training/run.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <span>
#include <utility>

#include "autograd/parallel.h"
#include "autograd/profile.h"
#include "experiments/base/errors.h"
#include "experiments/base/file_replacement.h"
#include "experiments/base/files.h"
#include "experiments/config/config_history.h"
#include "experiments/storage/log_reader.h"
#include "experiments/storage/log_seal.h"
#include "experiments/storage/run_folder.h"
#include "experiments/storage/run_lock.h"
#include "experiments/training/belonging.h"
#include "experiments/training/checkpoint_observer.h"
#include "experiments/training/evaluation_observer.h"
#include "experiments/training/fork.h"
#include "experiments/training/progress_observer.h"
#include "experiments/training/recorder.h"
#include "experiments/training/replay.h"
#include "experiments/training/training_loop.h"
#include "experiments/training/training_state.h"

namespace headscope::experiments {

namespace {

/// Applies RunOptions::threads to the calling thread for as long as it lives.
class Threads {
public:
    explicit Threads(const RunOptions& options) {
        if (options.threads) limit_.emplace(*options.threads);
    }

private:
    std::optional<ThreadLimit> limit_;
};

/// What another train.steps does to the learning rate of `step`, in a sentence; empty when the schedule does not depend
/// on it.
std::string rate_changes(const Config& config, std::int64_t step, std::int64_t steps_before, std::int64_t steps_now) {
    if (steps_before == steps_now || step > steps_before || step > steps_now || steps_before == 0) return {};
    const auto schedule = config.schedule.settings->build(schedule_context(config));
    const std::int64_t last = std::min(steps_before, steps_now);
    const auto differs = [&](std::int64_t at) {
        return schedule->factor(at, steps_before) != schedule->factor(at, steps_now);
    };
    if (!differs(step) && !differs(step + (last - step) / 2) && !differs(last)) return {};
    const auto rate = [&](std::int64_t steps) { return config.optimizer.lr * schedule->factor(step, steps); };
    return fmt::format(
        "schedule.type = \"{}\" depends on train.steps: the learning rate of step {} is {:.6g} with train.steps = {} "
        "and would be {:.6g} with {}",
        config.schedule.type, step, rate(steps_now), steps_now, rate(steps_before), steps_before);
}

/// LogReader::complete_until(); nothing when there is no log that can be read.
std::optional<std::int64_t> rows_until(const std::string& log) {
    try {
        if (path_exists(log)) return LogReader(log).complete_until();
    } catch (const IoError&) {  // require_log() says so where the log is needed
    }
    return std::nullopt;
}

/// Training in a folder that exists, is locked and holds config.toml.
class RunInFolder {
public:
    /// `data_change`: what to leave in /events about data that are not those of the run until now; may be empty.
    RunInFolder(const Experiment& experiment, const Folder& folder, const RunHooks& hooks, std::string data_change = "")
        : experiment_(experiment),
          config_(experiment.config),
          folder_(folder),
          paths_(folder.path()),
          hooks_(hooks),
          data_change_(std::move(data_change)),
          state_(experiment) {}

    /// From the initial weights.
    void start() {
        record_in(std::make_unique<Log>(LogPlace(folder_, log_file_name)), 0);
        train({}, 0);
    }

    /// From the newest good checkpoint; from the start when there is none. False when there is nothing left to do.
    /// `history`: of the experiment, which gets it from the log.
    bool go_on(ConfigHistory& history) {
        std::vector<std::string> notes;
        const std::optional<Checkpoint> checkpoint =
            load_newest_good(paths_.checkpoints, notes, rows_until(paths_.log));
        if (!checkpoint) {
            if (!notes.empty()) throw IoError(fmt::format("{}", fmt::join(notes, "\n")));
            start();
            return true;
        }
        const LogReader old_log(paths_.log);
        for (std::string& difference : old_log.differences_to_this_program()) notes.push_back(std::move(difference));
        for (const std::string& note : notes) hooks_.message(note);
        if (!belongs(*checkpoint, config_, &old_log))
            throw UsageError("resume: checkpoint " + checkpoint_name(checkpoint->step) + " in " + paths_.checkpoints +
                             " belongs to another run, another config or other data; only train.steps, log.*, eval.*, "
                             "checkpoint.* and where the data are may differ");
        if (checkpoint->step > config_.train.steps)
            throw UsageError("resume: train.steps = " + std::to_string(config_.train.steps) +
                             ", but the run has done " + std::to_string(checkpoint->step) + " steps already");
        restore(*checkpoint);
        const std::int64_t step = checkpoint->step;
        const ConfigHistory before = config_history_of(old_log, config_);
        history = before;
        const Config was = experiment_.config_at(step);
        history = continued(before, step, config_);
        if (is_finished(config_, *checkpoint)) return false;
        const std::string changes = describe_resume_changes(was, experiment_.config_at(step));
        const std::string rates = rate_changes(config_, step, was.train.steps, experiment_.config_at(step).train.steps);
        if (!rates.empty()) hooks_.message(rates);
        auto log = Log::reopen(LogPlace(folder_, log_file_name), step);
        if (log->was_rewritten()) {
            notes.push_back(
                fmt::format("{} was rewritten by another program, which took its checksum away; the rows "
                            "before step {} are as they are there",
                            paths_.log, step));
            hooks_.message(notes.back());
        }
        const std::string older = identity_of_schema_1_0(old_log);
        if (!older.empty() && older != config_identity(config_)) log->set_config_identity_1_0(older);
        record_in(std::move(log), step);
        for (const std::string& note : notes) recorder_->event(step, "resume", note);
        recorder_->event(step, "resume",
                         fmt::format("from step {}{}{}", step, changes.empty() ? "" : ", with ", changes));
        if (!rates.empty()) recorder_->event(step, "resume", rates);
        train(checkpoint->best, checkpoint->elapsed);
        return true;
    }

    std::int64_t steps_done() const { return state_.steps_done(); }
    /// Is there a log on disk, so that the run can be looked at and continued?
    bool has_log() const { return recorder_.has_value(); }

private:
    void restore(const Checkpoint& checkpoint) {
        try {
            state_.restore(checkpoint);
        } catch (const Error& error) {
            if (data_change_.empty()) throw;
            throw UsageError(fmt::format("resume: the other data do not fit the model: {}", error.what()));
        }
    }

    /// The event about the data and their digest reach the disk together.
    void record_in(std::unique_ptr<Log> log, std::int64_t step) {
        if (!data_change_.empty()) log->event(step, "data", data_change_);
        recorder_.emplace(experiment_, state_.model(), std::move(log));
    }

    void train(const BestEvaluation& best, double seconds_before) {
        recorder_->start_clock(seconds_before);
        recorder_->call_between_passes([this] {
            if (hooks_.stop != nullptr && hooks_.stop->load()) throw StopRequested();
        });
        Profile::mark(Profile::Phase::other, "start");
        BestEvaluationObserver evaluation(experiment_, *recorder_, hooks_, folder_, best);
        CheckpointObserver checkpoints(config_, *recorder_, evaluation, folder_, steps_done());
        ProgressObserver progress(hooks_, 0, config_.train.steps, state_.tokens_seen());
        try {
            run_training_loop(state_, {&evaluation, &*recorder_, &progress, &checkpoints}, {config_.train.steps},
                              hooks_.stop);
        } catch (const StopRequested&) {
            stop(checkpoints, evaluation);
        } catch (const NumericError& error) {
            fail(error);
        } catch (const IoError& error) {
            const std::optional<std::string> now = folder_.place();
            if (!now || folder_.is_in_place()) throw;
            throw IoError(fmt::format("{}; `headscope resume {}` goes on", error.what(), *now));
        }
    }

    [[noreturn]] void stop(CheckpointObserver& checkpoints, const BestEvaluationObserver& evaluation) {
        recorder_->event(steps_done(), "stopped", "by a signal");
        // At the run's last step its rows are still to be made, and a checkpoint of that step would say that all is
        // done.
        const bool last = steps_done() == config_.train.steps || evaluation.wants_end(state_);
        if (steps_done() > checkpoints.first_step() && !last) checkpoints.save(state_, true);
        else recorder_->publish();
        throw Stopped("stopped at step " + std::to_string(steps_done()) + "; `headscope resume " + paths_.folder +
                      "` goes on");
    }

    [[noreturn]] void fail(const NumericError& error) {
        recorder_->event(steps_done(), "NaN", error.what());
        recorder_->set_state("failed");
        recorder_->publish();
        std::vector<std::string> ignored;
        const std::optional<Checkpoint> last = load_newest_good(paths_.checkpoints, ignored);
        throw NumericError(std::string(error.what()) + (last ? "; the last good checkpoint of " + paths_.folder +
                                                                   " is that of step " + std::to_string(last->step)
                                                             : "; " + paths_.folder + " has no checkpoint yet"));
    }

    const Experiment& experiment_;
    const Config& config_;
    Folder folder_;
    RunPaths paths_;
    const RunHooks& hooks_;
    std::string data_change_;
    TrainingState state_;
    std::optional<Recorder> recorder_;
};

void write_config_file(const Folder& run, const Config& config) {
    const std::string text = config.resolved();
    write_file_atomically(run, config_file_name, std::as_bytes(std::span(text)));
}

/// The last checkpoint of a finished run, if that is there and whole, as is the log up to it. Throws IoError when there
/// are checkpoints and the run can go on from none.
std::optional<Checkpoint> finished_at(const RunPaths& paths, const Config& config) {
    std::vector<std::string> passed_over;
    std::optional<Checkpoint> newest = load_newest_good(paths.checkpoints, passed_over, rows_until(paths.log));
    if (newest && is_finished(config, *newest) && passed_over.empty() && path_exists(paths.log)) return newest;
    if (newest) return std::nullopt;
    if (!passed_over.empty())
        throw IoError(fmt::format("resume: {} can go on from no checkpoint; remove {} to start from step 0 again\n{}",
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

/// Nobody should train on a file without knowing that it is not the one in sight.
void say_where_data_are(Config config, const RunHooks& hooks) {
    for (const auto& [key, file] : data_paths(config))
        if (file->absolute != file->places().front())
            hooks.message(fmt::format("{} = \"{}\" is not there; {} is read", key, file->given, file->absolute));
}

/// The digest in a run's log; nothing when there is none, or no log that can be read.
std::optional<std::string> digest_in_log(const RunPaths& paths) {
    try {
        if (path_exists(paths.log)) return LogReader(paths.log).data_sha256();
    } catch (const IoError&) {  // require_log() says so where the log is needed
    }
    return std::nullopt;
}

/// What to leave in /events about other data than the run's; empty when they are the run's. Throws UsageError when
/// they are not and nobody has asked for it.
std::string change_of_data(const Experiment& at_hand, const std::string& folder,
                           const std::optional<std::string>& trained_on, const std::string& verb,
                           const RunOptions& options) {
    const std::optional<std::string> difference = data_difference(at_hand, folder, trained_on);
    if (!difference) return "";
    if (!options.other_data)
        throw UsageError(
            fmt::format("{}: {}; put the run's data back or name them (task.path=FILE), or --other-data trains on "
                        "these from here on",
                        verb, *difference));
    return "other data from here on: " + *difference;
}

/// The parent of a fork. Overrides that say where data are mean the parent's data too when their content is the same.
/// If not, the parent has its own, as far as they are at hand.
PastRun open_parent(const std::string& run, const LogReader& log, const Experiment& changed,
                    const std::vector<std::string>& overrides) {
    const std::vector<std::string> places = data_overrides(overrides);
    if (places.empty()) return open_past_run(run, {}, true);
    if (log.data_sha256() == changed.task->data_sha256()) return open_past_run(run, places);
    try {
        return open_past_run(run, {}, true);
    } catch (const IoError&) {
        return open_past_run(run, places, true);
    }
}

/// Where a fork or a replay of `run` goes: "<run>-<ending>", or `out` when that is given. Throws UsageError for a place
/// inside of the run.
std::string derived_folder(const std::string& run, const std::string& ending, const std::string& out) {
    namespace fs = std::filesystem;
    const std::string name = fs::path(without_slash(run)).filename().string();
    if (out.empty() && (name == "." || name == ".."))
        throw UsageError(
            fmt::format("`{}` is no name to make another from; name the run by its own, {}, or say --out "
                        "FOLDER",
                        run, fs::weakly_canonical(run).string()));
    const std::string folder = out.empty() ? fmt::format("{}-{}", without_slash(run), ending) : out;
    for (fs::path above = fs::weakly_canonical(fs::absolute(folder)).parent_path(); above.has_relative_path();
         above = above.parent_path())
        if (std::error_code error; fs::equivalent(above, run, error))
            throw UsageError(
                fmt::format("{}: lies in the folder of the run {}; choose a place outside with --out", folder, run));
    return folder;
}

std::string joined(const std::vector<std::string>& overrides) { return fmt::format("{}", fmt::join(overrides, " ")); }

}  // namespace

bool is_finished(const Config& config, const Checkpoint& checkpoint) {
    return checkpoint.step == config.train.steps || checkpoint.best.exhausted(config.eval.patience);
}

RunResult start_run(const Experiment& experiment, const RunOptions& options) {
    const Threads threads(options);
    const Config& config = experiment.config;
    const std::string folder = options.out.empty() ? fmt::format("runs/{}-s{}", config.name, config.seed) : options.out;
    NewRunFolder made(folder, {config_file_name}, options.hooks.on_message);
    say_where_data_are(config, options.hooks);
    RunInFolder run(experiment, made.folder(), options.hooks);
    write_config_file(made.folder(), config);
    try {
        run.start();
    } catch (...) {
        // With its first log a run can be looked at and continued. Without it there is nothing to keep.
        std::error_code ignored;
        const auto log = std::filesystem::symlink_status(RunPaths(folder).log, ignored);
        if (run.has_log() || log.type() != std::filesystem::file_type::not_found) made.keep();
        throw;
    }
    made.keep();
    return {folder, run.steps_done()};
}

RunResult resume_run(const std::string& folder, const std::vector<std::string>& overrides, const RunOptions& options) {
    const Threads threads(options);
    const RunPaths paths(folder);
    if (!path_exists(paths.config))
        throw UsageError("resume: " + folder +
                         " holds no config.toml; name the folder of a run, or remove this one and run again");
    check_resume_overrides(overrides);
    const RunLock lock(paths.folder, options.hooks.on_message);
    lock.folder().find_subfolder(checkpoints_name);  // refuses a link: what is behind it is not ours to change
    Config config = load_config(paths.config, overrides);
    if (const std::optional<Checkpoint> last = finished_at(paths, config)) return {folder, last->step, true};
    find_moved_data(config, paths.folder, overrides);
    Experiment experiment = build_experiment(std::move(config));
    const std::string data_change = change_of_data(experiment, folder, digest_in_log(paths), "resume", options);
    remove_temporary_files_of_run(lock.folder());
    // The folder says what the run is from now on; checkpoints past the new end are go_on()'s to refuse.
    const std::vector<std::int64_t> checkpoints = list_checkpoints(paths.checkpoints);
    if (!checkpoints.empty()) require_log(paths);
    if (!overrides.empty() && (checkpoints.empty() || checkpoints.back() < experiment.config.train.steps))
        write_config_file(lock.folder(), experiment.config);
    RunInFolder run(experiment, lock.folder(), options.hooks, data_change);
    const bool trained = run.go_on(experiment.history);
    return {folder, run.steps_done(), !trained};
}

RunResult fork_run(const std::string& run, std::int64_t step, const std::vector<std::string>& overrides,
                   const RunOptions& options) {
    const Threads threads(options);
    const LogReader log = log_of_past_run(run);
    Config config = load_config(RunPaths(run).config, overrides);
    find_moved_data(config, run, overrides);
    Experiment changed = build_experiment(std::move(config));
    for (const std::string& note : changed.config.notes) options.hooks.message(note);
    const PastRun parent = open_parent(run, log, changed, overrides);
    const std::string data_change = change_of_data(changed, run, parent.data_sha256, "fork", options);
    changed.history = overridden(parent.experiment.history, step, overrides);
    const std::string rates = rate_changes(changed.config, step, parent.experiment.config_at(step).train.steps,
                                           changed.config_at(step).train.steps);
    if (!rates.empty()) options.hooks.message(rates);
    const std::string out = derived_folder(run, fmt::format("fork-{}", step), options.out);
    const RunLock lock = make_fork(parent, changed, step, joined(overrides), data_change, out, options.hooks);
    RunInFolder fork(changed, lock.folder(), options.hooks);
    fork.go_on(changed.history);
    return {out, fork.steps_done()};
}

ReplayResult replay_run(const std::string& run, std::optional<std::int64_t> from, std::optional<std::int64_t> to,
                        const std::vector<std::string>& overrides, const RunOptions& options) {
    const Threads threads(options);
    check_replay_overrides(overrides);
    const PastRun past = open_past_run(run, overrides);
    ReplayResult result{{}, from.value_or(past.first_step), to.value_or(past.last_step), {}};
    result.folder = derived_folder(run, fmt::format("replay-{}-{}", result.from, result.to), options.out);
    result.compared = replay(past, result.from, result.to, joined(overrides), result.folder, options.hooks);
    return result;
}

}  // namespace headscope::experiments
