// A model in training: weights, optimizer, schedule, and what one step does with them. It knows no file and no
// terminal. The loop around it is training_loop.h; past_run.h brings one to any step of a past run.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "experiments/config/config.h"
#include "experiments/storage/checkpoint.h"
#include "experiments/training/observer.h"
#include "nn/transformer.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"

namespace headscope::experiments {

/// What one update did.
struct StepResult {
    double loss;       ///< of the batch, nat per scored target; NaN when no target is scored (the gradient is 0)
    double lr;         ///< learning rate of the update
    double grad_norm;  ///< global norm of the gradients, before clipping
};

class TrainingState {
public:
    /// Initial weights, no update done. The experiment must outlive it.
    explicit TrainingState(const Experiment& experiment);

    /// Weights, optimizer state, steps and tokens of a checkpoint. Throws Error when it is of another model.
    void restore(const Checkpoint& checkpoint);
    /// What restore() takes; elapsed and best are for the caller to fill in.
    Checkpoint checkpoint() const;

    /// One update. The observers are shown gradients and update. Throws NumericError when the loss or a gradient is not
    /// finite; it names the op and tensor that it began in.
    StepResult step(const Observers& observers = {});
    /// Throws NumericError when a weight is not finite.
    void require_finite_weights() const;

    const Experiment& experiment() const { return experiment_; }
    nn::Transformer& model() { return *model_; }
    std::int64_t steps_done() const { return step_; }
    std::int64_t tokens_seen() const { return tokens_seen_; }

private:
    double compute_gradients(const Batch& batch);
    [[noreturn]] void fail_numerically(const Batch& batch, double loss, double grad_norm);

    const Experiment& experiment_;
    const Config& config_;
    std::unique_ptr<nn::Transformer> model_;
    std::vector<nn::Parameter> parameters_;
    std::unique_ptr<optim::Optimizer> optimizer_;
    std::unique_ptr<optim::Schedule> schedule_;
    std::int64_t step_ = 0;
    std::int64_t tokens_seen_ = 0;
};

/// The model of an experiment with its initial weights, in the dtype that it trains in.
std::unique_ptr<nn::Transformer> build_model(const Experiment& experiment);

}  // namespace headscope::experiments
