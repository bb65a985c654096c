// The training loop.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "experiments/config/config.h"
#include "experiments/storage/checkpoint.h"
#include "experiments/training/speedometer.h"

namespace headscope::experiments {

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

}  // namespace headscope::experiments
