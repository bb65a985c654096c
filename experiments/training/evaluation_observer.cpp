#include "experiments/training/evaluation_observer.h"

#include "autograd/profile.h"
#include "experiments/storage/checkpoint.h"
#include "experiments/storage/run_folder.h"
#include "experiments/training/training_state.h"

namespace headscope::experiments {

void EvaluationObserver::at_weights(TrainingState& state) {
    const std::int64_t step = state.steps_done();
    const Config& config = experiment_.config_at(step);
    if (step % config.eval.every != 0 && step != config.train.steps) return;
    const std::optional<double> loss = recorder_.evaluate(step, hooks_.on_eval);
    if (loss) evaluated(state, *loss);
    Profile::mark(Profile::Phase::other, "evaluation");
}

bool BestEvaluationObserver::wants_end(const TrainingState& state) const {
    return best_.exhausted(experiment_.config_at(state.steps_done()).eval.patience);
}

void BestEvaluationObserver::evaluated(TrainingState& state, double loss) {
    const std::int64_t step = state.steps_done();
    const Config& config = experiment_.config_at(step);
    BestEvaluation now = best_;
    now.count(step, loss);
    // An evaluation that is made only because the run ends here is none of a run that goes on from here.
    if (step % config.eval.every == 0) best_ = now;
    if (now.step != step || (!config.checkpoint.best && config.eval.patience == 0)) return;
    recorder_.event(step, "best", "evaluation loss " + std::to_string(now.loss));
    if (!config.checkpoint.best) return;
    Checkpoint best = state.checkpoint();
    best.elapsed = recorder_.elapsed();
    best.best = now;
    best.run_id = recorder_.run_id();
    save_best_checkpoint(run_.subfolder(checkpoints_name), best);
}

}  // namespace headscope::experiments
