// The training loop: evaluation, probes and checkpoint, always for "the weights after `step` updates", and then the
// next step (trainer.cpp).
#include "experiments/training/training_loop.h"

#include <chrono>
#include <filesystem>
#include <optional>

#include "autograd/profile.h"
#include "experiments/base/errors.h"
#include "experiments/storage/log_reading.h"
#include "experiments/storage/log_seal.h"
#include "experiments/storage/run_folder.h"
#include "experiments/training/recorder.h"
#include "experiments/training/training_state.h"

namespace headscope::experiments {
namespace {

using Clock = std::chrono::steady_clock;

/// For `run --profile`.
void mark(const char* name) { Profile::mark(Profile::Phase::other, name); }

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Thrown through an evaluation or a probe when a signal has come.
struct StopAsked {};

class Training {
public:
    Training(const Experiment& experiment, const std::string& folder, const TrainingHooks& hooks)
        : experiment_(experiment), config_(experiment.config), paths_(folder), hooks_(hooks), trainer_(experiment) {}

    void start() {
        recorder_.emplace(experiment_, trainer_.model(), std::make_unique<Log>(paths_.log));
        run();
    }

    /// False when there is nothing left to do.
    bool resume() {
        std::vector<std::string> passed_over;
        const std::optional<Checkpoint> checkpoint = load_newest_good(paths_.checkpoints, passed_over);
        std::vector<std::string> notes = passed_over;
        if (checkpoint)
            for (std::string& difference : differences_to_this_program(open_log(paths_.log)))
                notes.push_back(std::move(difference));
        if (hooks_.on_message)
            for (const std::string& note : notes) hooks_.on_message(note);
        if (!checkpoint) {  // the run died before its first
            start();
            return true;
        }
        if (checkpoint->config_identity != config_identity(config_))
            throw UsageError("resume: checkpoint " + checkpoint_name(checkpoint->step) + " in " + paths_.checkpoints +
                             " belongs to another config; only train.steps, log.*, eval.* and checkpoint.* may differ");
        if (checkpoint->step > config_.train.steps)
            throw UsageError("resume: train.steps = " + std::to_string(config_.train.steps) +
                             ", but the run has done " + std::to_string(checkpoint->step) + " steps already");
        if (is_finished(config_, *checkpoint)) return false;
        trainer_.restore(*checkpoint);
        first_step_ = checkpoint->step;
        elapsed_before_ = checkpoint->elapsed;
        best_ = checkpoint->best;
        recorder_.emplace(experiment_, trainer_.model(), Log::reopen(paths_.log, checkpoint->step));
        for (const std::string& note : notes) recorder_->event(step(), "resume", note);
        recorder_->event(step(), "resume", "from step " + std::to_string(step()));
        run();
        return true;
    }

private:
    std::int64_t step() const { return trainer_.steps_done(); }

    void run() try {
        const std::int64_t steps = config_.train.steps;
        started_ = Clock::now();
        recorder_->call_between_passes([this] {
            if (stop_asked()) throw StopAsked();
        });
        mark("start");
        for (;;) {
            if (stop_asked()) stop();
            if (step() % config_.eval.every == 0 || step() == steps) {
                evaluate();
                mark("evaluation");
            }
            recorder_->measure_weights(step());
            const bool last = step() == steps || best_.exhausted(config_.eval.patience);
            if (last) finish();
            if (last || (step() > first_step_ && step() % config_.checkpoint.every == 0)) {
                save();
                mark("checkpoint");
            }
            if (last) return;
            train_step();
            recorder_->publish_if_due();
            mark("log");
        }
    } catch (const StopAsked&) {
        stop();
    } catch (const NumericError& error) {
        recorder_->event(step(), "NaN", error.what());
        recorder_->set_state("failed");
        recorder_->publish();
        std::vector<std::string> ignored;
        const std::optional<Checkpoint> last = load_newest_good(paths_.checkpoints, ignored);
        throw NumericError(std::string(error.what()) + (last ? "; the last good checkpoint of " + paths_.folder +
                                                                   " is that of step " + std::to_string(last->step)
                                                             : "; " + paths_.folder + " has no checkpoint yet"));
    }

    void evaluate() {
        const std::optional<double> loss = recorder_->evaluate(step(), hooks_.on_eval);
        if (!loss) return;
        BestEvaluation now = best_;
        now.count(step(), *loss);
        // An evaluation that is made only because the run ends here is none of a run that goes on from here.
        if (step() % config_.eval.every == 0) best_ = now;
        if (now.step != step() || (!config_.checkpoint.best && config_.eval.patience == 0)) return;
        recorder_->event(step(), "best", "evaluation loss " + std::to_string(now.loss));
        if (!config_.checkpoint.best) return;
        Checkpoint best = checkpoint();
        best.best = now;
        save_best_checkpoint(paths_.checkpoints, best);
    }

    void finish() {
        if (step() < config_.train.steps)
            recorder_->event(step(), "early stop",
                             "no lower evaluation loss than at step " + std::to_string(best_.step));
        recorder_->set_state("finished");
    }

    void train_step() {
        const std::int64_t number = step(), tokens_before = trainer_.tokens_seen();
        const StepResult done = trainer_.step(&*recorder_);
        if (recorder_->train_row_due(number))
            recorder_->train_row(number, done.loss, done.lr, done.grad_norm, trainer_.tokens_seen(), elapsed());
        if (hooks_.on_step)
            hooks_.on_step(
                speed_.progress(step(), config_.train.steps, done.loss, trainer_.tokens_seen() - tokens_before));
    }

    double elapsed() const { return elapsed_before_ + seconds_since(started_); }

    bool stop_asked() const { return hooks_.stop != nullptr && hooks_.stop->load(); }

    [[noreturn]] void stop() {
        recorder_->event(step(), "stopped", "by a signal");
        // At the run's last step its rows are still to be made, and a checkpoint of that step would say that all is
        // done.
        const bool last = step() == config_.train.steps || best_.exhausted(config_.eval.patience);
        if (step() > first_step_ && !last) save();
        else recorder_->publish();
        throw Stopped("stopped at step " + std::to_string(step()) + "; `headscope resume " + paths_.folder +
                      "` goes on");
    }

    /// The log first: a checkpoint on disk means that every row before it is on disk too.
    void save() {
        trainer_.require_finite_weights();
        recorder_->publish();
        save_checkpoint(paths_.checkpoints, checkpoint(), config_.checkpoint.keep);
    }

    Checkpoint checkpoint() const {
        Checkpoint checkpoint = trainer_.checkpoint();
        checkpoint.elapsed = elapsed();
        checkpoint.best = best_;
        return checkpoint;
    }

    const Experiment& experiment_;
    const Config& config_;
    RunPaths paths_;
    const TrainingHooks& hooks_;
    TrainingState trainer_;
    std::optional<Recorder> recorder_;
    Speedometer speed_;
    Clock::time_point started_;

    std::int64_t first_step_ = 0;  // of this process
    double elapsed_before_ = 0;    // seconds trained by earlier processes
    BestEvaluation best_;
};

}  // namespace

bool is_finished(const Config& config, const Checkpoint& checkpoint) {
    return checkpoint.step == config.train.steps || checkpoint.best.exhausted(config.eval.patience);
}

bool train(const Experiment& experiment, const std::string& folder, bool resume, const TrainingHooks& hooks) {
    Training training(experiment, folder, hooks);
    if (resume) return training.resume();
    training.start();
    return true;
}

}  // namespace headscope::experiments
