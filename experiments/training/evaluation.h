// How good a model is on fixed batches.
#pragma once

#include <functional>
#include <vector>

#include "experiments/config/config.h"
#include "experiments/storage/log.h"
#include "nn/transformer.h"

namespace headscope::experiments {

/// The fixed batches that a run is evaluated on, eval.batches of them or as many as there are; none when the task has
/// no evaluation data.
std::vector<Batch> evaluation_batches(const Experiment& experiment);
/// The same for another number than that of the config; more are those and others after them.
std::vector<Batch> evaluation_batches(const Experiment& experiment, std::int64_t wanted);

/// All losses in nat per scored target, NaN where no target was scored. Without any scored target the accuracy is NaN
/// too: nothing was measured.
struct Evaluation {
    double loss;      ///< against the true distribution where the task knows it, else against the targets
    double accuracy;  ///< share of scored targets that have the largest logit (the first of equals)
    double excess;    ///< loss - the task's best floor; NaN when it has none
    std::vector<double> class_loss;  ///< loss_<class>: against the targets of each target class
};

/// The columns of /eval for a task, in the order in which evaluation_row() gives the values.
std::vector<Column> evaluation_columns(const Task& task);
std::vector<double> evaluation_row(const Task& task, const Evaluation& evaluation);

/// Runs the model over `batches` in evaluation mode and gives it back in the mode it was in. Sums are in f64, in order.
/// `before_batch` may throw, to end it.
Evaluation evaluate(nn::Transformer& model, const Task& task, const std::vector<Batch>& batches,
                    const std::function<void()>& before_batch = {});

}  // namespace headscope::experiments
