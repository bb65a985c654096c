#pragma once

#include <optional>
#include <utility>

#include "experiments/base/folder.h"
#include "experiments/storage/best_evaluation.h"
#include "experiments/training/observer.h"
#include "experiments/training/recorder.h"
#include "experiments/training/run_hooks.h"

namespace headscope::experiments {

/// Evaluates at steps divisible by eval.every and at the last one, as the config of each step says, and adds the row to
/// the log.
class EvaluationObserver : public Observer {
public:
    EvaluationObserver(const Experiment& experiment, Recorder& recorder, const RunHooks& hooks)
        : experiment_(experiment), recorder_(recorder), hooks_(hooks) {}
    void at_weights(TrainingState& state) override;

protected:
    /// After an evaluation.
    virtual void evaluated(TrainingState&, double /*loss*/) {}

    const Experiment& experiment_;
    Recorder& recorder_;
    const RunHooks& hooks_;
};

/// The same, and keeps count of the best: writes checkpoints/best.h5 (checkpoint.best) and ends a run that
/// eval.patience has exhausted.
class BestEvaluationObserver : public EvaluationObserver {
public:
    /// `run`: the folder of the run. `best`: of a continued run, what its checkpoint says.
    BestEvaluationObserver(const Experiment& experiment, Recorder& recorder, const RunHooks& hooks, Folder run,
                           const BestEvaluation& best)
        : EvaluationObserver(experiment, recorder, hooks), run_(std::move(run)), best_(best) {}
    bool wants_end(const TrainingState& state) const override;
    const BestEvaluation& best() const { return best_; }

protected:
    void evaluated(TrainingState& state, double loss) override;

private:
    Folder run_;
    BestEvaluation best_;
};

}  // namespace headscope::experiments
