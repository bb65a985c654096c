#pragma once

#include <utility>

#include "experiments/base/folder.h"
#include "experiments/training/evaluation_observer.h"
#include "experiments/training/observer.h"
#include "experiments/training/recorder.h"

namespace headscope::experiments {

/// Writes a checkpoint at steps divisible by checkpoint.every and at the last one, each after the rows: a checkpoint on
/// disk means that every row before it is on disk too, in the log or in its tail. The log is published when it is time,
/// and at the end.
class CheckpointObserver : public Observer {
public:
    /// `run`: the folder of the run. `first_step`: where this process began; its checkpoint is there already.
    CheckpointObserver(const Config& config, Recorder& recorder, const BestEvaluationObserver& evaluation, Folder run,
                       std::int64_t first_step)
        : config_(config),
          recorder_(recorder),
          evaluation_(evaluation),
          run_(std::move(run)),
          first_step_(first_step) {}

    void keep_weights(TrainingState& state, bool last) override;
    void after_step(TrainingState& state, const StepResult& result) override;
    /// Writes rows and checkpoint now; `last`: the log is published, for there may be no other time.
    void save(TrainingState& state, bool last);
    std::int64_t first_step() const { return first_step_; }

private:
    const Config& config_;
    Recorder& recorder_;
    const BestEvaluationObserver& evaluation_;
    Folder run_;
    std::int64_t first_step_;
};

}  // namespace headscope::experiments
