#include "experiments/training/replay.h"

#include <fmt/format.h>

#include <filesystem>

#include "experiments/base/errors.h"
#include "experiments/storage/log_seal.h"
#include "experiments/training/recorder.h"

namespace headscope::experiments {
namespace {

/// Removes a folder unless told that all went well.
struct NewFolder {
    std::string path;
    bool keep = false;
    ~NewFolder() {
        std::error_code ignored;
        if (!keep) std::filesystem::remove_all(path, ignored);
    }
};

class Replay {
public:
    Replay(const PastRun& run, TrainingState& trainer, Recorder& recorder, const PastRunHooks& hooks)
        : run_(run), config_(run.experiment.config), trainer_(trainer), recorder_(recorder), hooks_(hooks) {}

    void go(std::int64_t to) {
        const std::int64_t from = trainer_.steps_done();
        for (;;) {
            if (hooks_.stop != nullptr && hooks_.stop->load())
                throw Stopped("replay: stopped by a signal; nothing is left behind");
            look();
            const std::int64_t number = trainer_.steps_done();
            const bool the_end = number == config_.train.steps || (run_.finished && number == run_.last_step);
            if (!the_end) train_step(from, to);
            if (number == to) return;
        }
    }

private:
    /// What the training loop does before a step.
    void look() {
        const std::int64_t step = trainer_.steps_done();
        if (step % config_.eval.every == 0 || step == config_.train.steps) recorder_.evaluate(step, {});
        recorder_.measure_weights(step);
        check_checkpoint(run_, trainer_);
    }

    void train_step(std::int64_t from, std::int64_t to) {
        const std::int64_t number = trainer_.steps_done(), tokens = trainer_.tokens_seen();
        const StepResult done = trainer_.step(&recorder_);
        check_step(run_, number, done);
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
        if (recorder_.train_row_due(number))
            recorder_.train_row(number, done.loss, done.lr, done.grad_norm, trainer_.tokens_seen(), seconds);
        if (hooks_.on_step)
            hooks_.on_step(
                speed_.progress(number + 1 - from, to + 1 - from, done.loss, trainer_.tokens_seen() - tokens));
    }

    const PastRun& run_;
    const Config& config_;
    TrainingState& trainer_;
    Recorder& recorder_;
    const PastRunHooks& hooks_;
    Speedometer speed_;
    std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

}  // namespace

void check_replay_overrides(const std::vector<std::string>& overrides) {
    std::string message;
    for (const std::string& text : overrides) {
        const std::string key = text.substr(0, text.find_first_of(" \t="));
        if (key.starts_with("log.") || key == "eval.every" || key == "train.steps") continue;
        message += fmt::format(
            "{}command line: {}: a replay trains as the run did; only log.* and eval.every can change "
            "(`headscope fork` changes more)",
            message.empty() ? "" : "\n", text);
    }
    if (!message.empty()) throw UsageError(message);
}

LogComparison replay(const PastRun& run, std::int64_t from, std::int64_t to, const std::string& changes,
                     const std::string& out, const PastRunHooks& hooks) {
    if (from > to) throw UsageError(fmt::format("replay: --from {} is after --to {}", from, to));
    require_step(run, from);
    require_step(run, to);
    create_run_folder(out);
    NewFolder folder{out};
    TrainingState trainer(run.experiment);
    bring_to(run, from, trainer, hooks);

    const std::string path = RunPaths(out).log;
    auto log = std::make_unique<Log>(path);
    log->set_lineage({"replay", std::filesystem::absolute(run.paths.folder).lexically_normal().string(), run.run_id,
                      config_family(run.experiment.config), from, changes});
    Recorder recorder(run.experiment, trainer.model(), std::move(log));
    Replay(run, trainer, recorder, hooks).go(to);
    recorder.set_state("finished");
    recorder.publish();

    const LogComparison comparison = compare_rows(open_log(run.paths.log), open_log(path), from, to);
    if (comparison.different > 0) {
        std::string message = fmt::format(
            "replay: {} of {} rows differ from those of {}, first {}; nothing is kept. Data, checkpoint or program "
            "have "
            "changed since it was trained",
            comparison.different, comparison.rows, run.paths.log, comparison.first);
        for (const std::string& warning : run.warnings) message += "\n" + warning;
        throw CheckFailed(message);
    }
    folder.keep = true;
    return comparison;
}

}  // namespace headscope::experiments
