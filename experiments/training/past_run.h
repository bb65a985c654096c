// A run on disk, looked into again: any state that it went through, to the bit, whether or not a checkpoint of it is
// left. What is computed again is compared with what the run left on its way, so that nobody is handed another history.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "experiments/config/config.h"
#include "experiments/storage/checkpoint.h"
#include "experiments/storage/run_folder.h"
#include "experiments/training/speedometer.h"
#include "experiments/training/training_state.h"

namespace headscope::experiments {

struct PastRun {
    RunPaths paths;
    Experiment experiment;
    std::string run_id;
    std::int64_t first_step = 0;  ///< 0, or the step that a fork begins at
    std::int64_t last_step = 0;   ///< updates done, as far as the log and the checkpoints tell
    bool finished = false;
    /// What differs between the program or machine that trained and this one, a sentence each: bits may differ then.
    std::vector<std::string> warnings;
    std::map<std::int64_t, StepResult> train_rows;  ///< the rows of /train
    std::map<std::int64_t, double> eval_losses;     ///< the rows of /eval
};

/// Opens RUN/config.toml, with overrides that `resume` may make, and RUN/log.h5. Throws UsageError when there is no
/// such run, when it is a replay, or when its config is that of another run than its log; IoError when the log cannot
/// be read. Touches nothing.
PastRun open_past_run(const std::string& folder, const std::vector<std::string>& overrides = {});

/// How a long computation reports.
struct PastRunHooks {
    std::function<void(const Progress&)> on_step;
    std::function<void(const std::string&)> on_message;  ///< where it starts, a damaged checkpoint passed over, ...
    const std::atomic<bool>* stop = nullptr;             ///< set by a signal: throw Stopped
};

/// Throws UsageError that lists the steps there are when the run has no state after `step` updates.
void require_step(const PastRun& run, std::int64_t step);

/// Puts a trainer of the run's experiment into the state after `step` updates: that of its checkpoint (IoError when
/// that is damaged), or trained again from the nearest good checkpoint before it or from the start, every step checked
/// by check_step(). Throws UsageError when the run has no such step.
void bring_to(const PastRun& run, std::int64_t step, TrainingState& trainer, const PastRunHooks& hooks);

/// Throws CheckFailed when step `number`, computed again, gave another bit of loss, learning rate or gradient norm than
/// the row of /train about it.
void check_step(const PastRun& run, std::int64_t number, const StepResult& done);
/// Throws CheckFailed when the trainer's weights or optimizer state differ in a bit from the checkpoint of that step.
/// No checkpoint, or a damaged one, says nothing.
void check_checkpoint(const PastRun& run, const TrainingState& trainer);

/// The run's state after `step` updates by bring_to(), complete: with the best evaluation up to there.
Checkpoint state_at(const PastRun& run, std::int64_t step, const PastRunHooks& hooks);

}  // namespace headscope::experiments
