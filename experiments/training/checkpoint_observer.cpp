#include "experiments/training/checkpoint_observer.h"

#include "autograd/profile.h"
#include "experiments/storage/checkpoint.h"
#include "experiments/storage/run_folder.h"
#include "experiments/training/training_state.h"

namespace headscope::experiments {

void CheckpointObserver::keep_weights(TrainingState& state, bool last) {
    const std::int64_t step = state.steps_done();
    if (last) {
        const std::int64_t best = evaluation_.best().step;
        if (step < config_.train.steps)
            recorder_.event(step, "early stop",
                            best < 0 ? "every evaluation loss was infinite"
                                     : "no lower evaluation loss than at step " + std::to_string(best));
        recorder_.set_state("finished");
    }
    if (!last && (step == first_step_ || step % config_.checkpoint.every != 0)) return;
    save(state, last);
    Profile::mark(Profile::Phase::other, "checkpoint");
}

void CheckpointObserver::after_step(TrainingState&, const StepResult&) {
    recorder_.publish_if_due();
    Profile::mark(Profile::Phase::other, "log");
}

void CheckpointObserver::save(TrainingState& state, bool last) {
    state.require_finite_weights();
    if (last) recorder_.publish();
    else recorder_.save_rows();
    Checkpoint checkpoint = state.checkpoint();
    checkpoint.elapsed = recorder_.elapsed();
    checkpoint.best = evaluation_.best();
    checkpoint.run_id = recorder_.run_id();
    save_checkpoint(run_.subfolder(checkpoints_name), checkpoint, config_.checkpoint.keep);
}

}  // namespace headscope::experiments
