// The training loop.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "experiments/config/config.h"
#include "experiments/storage/checkpoint.h"
#include "nn/transformer.h"

namespace headscope {

/// What a reporter sees after each step.
struct Progress {
    std::int64_t step;         ///< updates done
    std::int64_t steps;        ///< updates to do
    double loss;               ///< of this step's batch, nat per token
    double tokens_per_second;  ///< over the last second
    double seconds_left;
};

struct TrainingHooks {
    std::function<void(const Progress&)> on_step;
    std::function<void(std::int64_t step, double loss, double accuracy)> on_eval;
    std::function<void(const std::string&)> on_message;  ///< a line for the user: a damaged checkpoint passed over, ...
    const std::atomic<bool>* stop = nullptr;  ///< set by a signal: finish the step, save a checkpoint, throw Stopped
};

/// Trains in `folder`, which exists and holds config.toml, until config.train.steps, or until eval.patience is
/// exhausted; with `resume` from the newest good
/// checkpoint (from the start when there is none). Returns false when a resumed run was finished already: nothing is
/// changed then. Throws NumericError, IoError, Stopped, UsageError.
bool train(const Experiment& experiment, const std::string& folder, bool resume, const TrainingHooks& hooks);

/// Has a run with this checkpoint come to its end, by train.steps or by eval.patience?
bool is_finished(const Config& config, const Checkpoint& checkpoint);

/// The model of an experiment with its initial weights, in the dtype that it trains in.
std::unique_ptr<nn::Transformer> build_model(const Experiment& experiment);

}  // namespace headscope
