// The training loop. A step is: batch, forward, backward, clip, update. Around it, in this order and always for "the
// weights after `step` updates": evaluation, probes, checkpoint.
#include "experiments/training.h"

#include <chrono>
#include <cmath>
#include <filesystem>
#include <optional>

#include "autograd/graph.h"
#include "autograd/ops/cross_entropy.h"
#include "autograd/profile.h"
#include "autograd/random.h"
#include "experiments/errors.h"
#include "experiments/micro_batches.h"
#include "experiments/recorder.h"
#include "experiments/storage/run_folder.h"
#include "optim/clip.h"

namespace headscope {
namespace {

using Clock = std::chrono::steady_clock;

/// For `run --profile`.
void mark(const char* name) { Profile::mark(Profile::Phase::other, name); }

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

bool all_finite(const Tensor& tensor) {
    return dispatch_float(tensor.dtype(), "all_finite", [&](auto zero) {
        for (const auto value : tensor.values<decltype(zero)>())
            if (!std::isfinite(value)) return false;
        return true;
    });
}

/// Throws NumericError naming the first tensor that is not finite: a weight, else a gradient, else the loss.
void fail_numerically(std::int64_t step, const std::string& what, const std::vector<NamedTensor>& parameters) {
    std::string where = what;
    for (auto parameter = parameters.rbegin(); parameter != parameters.rend(); ++parameter)
        if (parameter->tensor.grad().defined() && !all_finite(parameter->tensor.grad()))
            where = "the gradient of " + parameter->name;
    for (auto parameter = parameters.rbegin(); parameter != parameters.rend(); ++parameter)
        if (!all_finite(parameter->tensor)) where = parameter->name;
    throw NumericError("step " + std::to_string(step) + ": " + where +
                       " is not finite; a smaller optimizer.lr, schedule.warmup_steps or train.clip_norm may help");
}

/// Steps and time left, from the speed of the last seconds.
class Speedometer {
public:
    Progress progress(std::int64_t step, std::int64_t steps, double loss, std::int64_t tokens) {
        tokens_ += tokens;
        ++steps_;
        const double seconds = seconds_since(mark_);
        if (seconds >= 1 || tokens_per_second_ == 0) {
            tokens_per_second_ = static_cast<double>(tokens_) / seconds;
            seconds_per_step_ = seconds / static_cast<double>(steps_);
        }
        if (seconds >= 1) {
            tokens_ = steps_ = 0;
            mark_ = Clock::now();
        }
        return {step, steps, loss, tokens_per_second_, seconds_per_step_ * static_cast<double>(steps - step)};
    }

private:
    Clock::time_point mark_ = Clock::now();
    std::int64_t tokens_ = 0;
    std::int64_t steps_ = 0;
    double tokens_per_second_ = 0;
    double seconds_per_step_ = 0;
};

class Training {
public:
    Training(const Experiment& experiment, const std::string& folder, const TrainingHooks& hooks)
        : experiment_(experiment),
          config_(experiment.config),
          paths_(folder),
          hooks_(hooks),
          model_(build_model(experiment)),
          parameters_(model_->named_parameters()),
          optimizer_(
              config_.optimizer.settings->build({{parameters_, config_.optimizer.lr, config_.optimizer.weight_decay}})),
          schedule_(config_.schedule.settings->build(schedule_context(config_))) {}

    void start() {
        recorder_.emplace(experiment_, *model_, std::make_unique<Log>(paths_.log));
        run();
    }

    /// False when there is nothing left to do.
    bool resume() {
        std::vector<std::string> passed_over;
        const std::optional<Checkpoint> checkpoint = load_newest_good(paths_.checkpoints, passed_over);
        if (hooks_.on_message)
            for (const std::string& message : passed_over) hooks_.on_message(message);
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
        restore(*checkpoint);
        recorder_.emplace(experiment_, *model_, Log::reopen(paths_.log, checkpoint->step));
        for (const std::string& message : passed_over) recorder_->event(step_, "resume", message);
        recorder_->event(step_, "resume", "from " + checkpoint_name(step_));
        run();
        return true;
    }

private:
    void restore(const Checkpoint& checkpoint) {
        model_->load_state_dict(checkpoint.model);
        optimizer_->load_state(checkpoint.optimizer);
        step_ = first_step_ = checkpoint.step;
        tokens_seen_ = checkpoint.tokens_seen;
        elapsed_before_ = checkpoint.elapsed;
        best_ = checkpoint.best;
    }

    void run() try {
        const std::int64_t steps = config_.train.steps;
        started_ = Clock::now();
        mark("start");
        for (;; ++step_) {
            if (stop_asked()) stop();
            if (step_ % config_.eval.every == 0 || step_ == steps) {
                evaluate();
                mark("evaluation");
            }
            recorder_->measure_weights(step_);
            const bool last = step_ == steps || best_.exhausted(config_.eval.patience);
            if (last) finish();
            if (last || (step_ > first_step_ && step_ % config_.checkpoint.every == 0)) {
                save();
                mark("checkpoint");
            }
            if (last) return;
            train_step();
            recorder_->publish_if_due();
            mark("log");
        }
    } catch (const NumericError& error) {
        recorder_->event(step_, "NaN", error.what());
        recorder_->set_state("failed");
        recorder_->publish();
        throw;
    }

    void evaluate() {
        const std::optional<double> loss = recorder_->evaluate(step_, hooks_.on_eval);
        if (!loss) return;
        BestEvaluation now = best_;
        now.count(step_, *loss);
        // An evaluation that is made only because the run ends here is none of a run that goes on from here.
        if (step_ % config_.eval.every == 0) best_ = now;
        if (now.step != step_ || (!config_.checkpoint.best && config_.eval.patience == 0)) return;
        recorder_->event(step_, "best", "evaluation loss " + std::to_string(now.loss));
        if (!config_.checkpoint.best) return;
        Checkpoint best = checkpoint();
        best.best = now;
        save_best_checkpoint(paths_.checkpoints, best);
    }

    void finish() {
        if (step_ < config_.train.steps)
            recorder_->event(step_, "early stop",
                             "no lower evaluation loss than at step " + std::to_string(best_.step));
        recorder_->set_state("finished");
    }

    /// Gradients of the batch's mean loss, which is returned.
    double compute_gradients(const Batch& batch) {
        const std::int64_t parts = config_.train.accumulate;
        const std::vector<MicroBatch> split = split_batch(batch, parts);
        optimizer_->zero_grad();
        mark("optimizer");
        double loss = 0;
        for (std::int64_t part = 0; part < parts; ++part) {
            const MicroBatch& micro = split[static_cast<std::size_t>(part)];
            const RandomScope random(static_cast<std::uint64_t>(config_.seed),
                                     static_cast<std::uint64_t>(step_ * parts + part));
            const Tensor mean = cross_entropy(model_->forward(micro.inputs), micro.targets);
            loss += micro.weight * mean.item();
            backward(mean, {.gradient = Tensor::full({}, micro.weight, mean.dtype())});
        }
        return loss;
    }

    void train_step() {
        const Batch batch = experiment_.task->train_batch(step_, config_.train.batch_size);
        mark("data");
        const double loss = compute_gradients(batch);
        mark("freeing the graph");
        recorder_->measure_gradients(step_, batch);

        const double grad_norm = optimizer_->grad_norm();
        if (!std::isfinite(loss) || !std::isfinite(grad_norm)) fail_numerically(step_, "the loss", parameters_);
        const double scale = config_.train.clip_norm > 0 ? optim::clip_scale(grad_norm, config_.train.clip_norm) : 1;

        const double lr = config_.optimizer.lr * schedule_->factor(step_, config_.train.steps);
        optimizer_->set_lr(lr);
        recorder_->before_update(step_);
        optimizer_->step(scale);
        mark("optimizer");
        recorder_->measure_update(step_, batch);

        tokens_seen_ += batch.inputs.numel();
        if (recorder_->train_row_due(step_)) recorder_->train_row(step_, loss, lr, grad_norm, tokens_seen_, elapsed());
        if (hooks_.on_step) hooks_.on_step(speed_.progress(step_ + 1, config_.train.steps, loss, batch.inputs.numel()));
    }

    double elapsed() const { return elapsed_before_ + seconds_since(started_); }

    bool stop_asked() const { return hooks_.stop != nullptr && hooks_.stop->load(); }

    [[noreturn]] void stop() {
        recorder_->event(step_, "stopped", "by a signal");
        if (step_ > first_step_) save();
        else recorder_->publish();
        throw Stopped("stopped at step " + std::to_string(step_) + "; `headscope resume " + paths_.folder +
                      "` goes on");
    }

    /// The log first: a checkpoint on disk means that every row before it is on disk too.
    void save() {
        for (const NamedTensor& parameter : parameters_)
            if (!all_finite(parameter.tensor)) fail_numerically(step_, parameter.name, parameters_);
        recorder_->publish();
        save_checkpoint(paths_.checkpoints, checkpoint(), config_.checkpoint.keep);
    }

    Checkpoint checkpoint() const {
        return {step_, config_.seed,         tokens_seen_,       elapsed(), config_identity(config_),
                best_, model_->state_dict(), optimizer_->state()};
    }

    const Experiment& experiment_;
    const Config& config_;
    RunPaths paths_;
    const TrainingHooks& hooks_;
    std::unique_ptr<nn::Transformer> model_;
    std::vector<NamedTensor> parameters_;
    std::unique_ptr<optim::Optimizer> optimizer_;
    std::unique_ptr<optim::Schedule> schedule_;
    std::optional<Recorder> recorder_;
    Speedometer speed_;
    Clock::time_point started_;

    std::int64_t step_ = 0;        // updates done
    std::int64_t first_step_ = 0;  // of this process
    std::int64_t tokens_seen_ = 0;
    double elapsed_before_ = 0;  // seconds trained by earlier processes
    BestEvaluation best_;
};

}  // namespace

bool is_finished(const Config& config, const Checkpoint& checkpoint) {
    return checkpoint.step == config.train.steps || checkpoint.best.exhausted(config.eval.patience);
}

std::unique_ptr<nn::Transformer> build_model(const Experiment& experiment) {
    const nn::DeferInit defer;
    auto model = std::make_unique<nn::Transformer>(experiment.model);
    if (experiment.config.train.dtype == "float64") model->to(DType::f64);
    nn::initialize(*model, experiment.init, static_cast<std::uint64_t>(experiment.config.seed));
    return model;
}

bool train(const Experiment& experiment, const std::string& folder, bool resume, const TrainingHooks& hooks) {
    Training training(experiment, folder, hooks);
    if (resume) return training.resume();
    training.start();
    return true;
}

}  // namespace headscope
