// Writes a run's log as training goes on: which series there are, and when a row is due.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "experiments/config/config.h"
#include "experiments/probes/probe.h"
#include "experiments/storage/log.h"
#include "experiments/training/attention_maps.h"
#include "experiments/training/evaluation.h"
#include "experiments/training/observer.h"

namespace headscope::experiments {

/// Every row is made as the config of its step says, see Experiment::config_at().
class Recorder : public Observer {
public:
    /// Declares all series of the experiment, its history included, in `log` and publishes it for the first time.
    Recorder(const Experiment& experiment, nn::Transformer& model, std::unique_ptr<Log> log);

    /// `between` is called between the forward passes of evaluations and probes; it may throw, to end what goes on. The
    /// rows of that step are then incomplete, and for a resumed run to make anew.
    void call_between_passes(std::function<void()> between) { between_passes_ = std::move(between); }

    /// Evaluates the weights after `step` updates, adds the row and returns the loss. No row, and nothing to return,
    /// when the task has no evaluation data.
    std::optional<double> evaluate(std::int64_t step, const std::function<void(std::int64_t, double, double)>& on_eval);
    /// Runs the probes that read weights or activations and are due.
    void at_weights(TrainingState& state) override;
    /// Runs the probes that read gradients and are due, and, in a step that has a row in /train, logs the norms of
    /// every parameter and its gradient.
    void at_gradients(TrainingState& state, const Batch& batch) override;
    /// Before and after the update: runs the probes that compare the weights then and now and are due.
    void before_update(TrainingState& state) override;
    void after_update(TrainingState& state, const Batch& batch) override;
    /// Adds the row of /train when it is due.
    void after_step(TrainingState& state, const StepResult& result) override;

    /// Of the log.
    std::string run_id() const { return log_->attribute("run_id"); }
    /// Seconds trained: by earlier processes, and by this one since start_clock().
    void start_clock(double seconds_before);
    double elapsed() const;

    void event(std::int64_t step, const std::string& kind, const std::string& message);
    /// "running", "finished" or "failed".
    void set_state(const std::string& state);
    void publish();
    /// Publishes when the last time is long enough ago for this to cost half a percent of the run's time; checkpoints
    /// take the rest of the one percent that all of it may cost. Where very fast steps log much, new rows alone cost
    /// more; so intervals grow fourfold at most, for the file not to be out of date for most of the run.
    void publish_if_due();
    /// Log::save_rows().
    void save_rows();

private:
    struct DueProbe {
        std::string name;
        std::string profile_name;
        std::unique_ptr<Probe> probe;
    };
    void declare_head_metrics();
    ProbeContext context(std::int64_t step) const;
    const LogConfig& settings(std::int64_t step) const { return experiment_.config_at(step).log; }
    /// Of /eval; empty without evaluation data.
    const std::vector<Batch>& eval_batches(std::int64_t step) const;
    /// The same, or the first training batch.
    const std::vector<Batch>& probe_batches(std::int64_t step) const;
    std::vector<const DueProbe*> due_probes(std::int64_t step, ProbeStage stage) const;
    void append(const DueProbe& entry, std::int64_t step, const std::vector<double>& values);
    void measure(const ProbeContext& context, ProbeStage stage);
    void measure_activations(const ProbeContext& context);
    const Tensor& before(const Tensor& parameter) const;

    const Experiment& experiment_;
    nn::Transformer& model_;
    std::vector<nn::Parameter> parameters_;
    std::vector<DueProbe> probes_;
    std::map<std::int64_t, std::vector<Batch>> eval_batches_;  ///< by eval.batches
    std::vector<Batch> first_train_batch_;                     ///< when there is no evaluation data
    std::function<void()> between_passes_;
    std::vector<Tensor> before_;  ///< the parameters before the update; of the last step that needed them
    std::unique_ptr<Log> log_;
    std::optional<AttentionMaps> attention_maps_;
    std::chrono::steady_clock::time_point next_publish_, started_;
    std::chrono::steady_clock::duration publish_interval_{std::chrono::hours(1)};
    double elapsed_before_ = 0;
};

}  // namespace headscope::experiments
