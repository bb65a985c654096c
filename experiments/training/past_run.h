// A run on disk, opened again: any state that it went through, to the bit, whether or not a checkpoint of it is left.
// What is computed again is compared with the run's own rows and checkpoints; a difference is an error.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "experiments/config/config_history.h"
#include "experiments/storage/checkpoint.h"
#include "experiments/storage/log_reader.h"
#include "experiments/storage/run_folder.h"
#include "experiments/training/observer.h"
#include "experiments/training/run_hooks.h"
#include "experiments/training/training_state.h"

namespace headscope::experiments {

struct PastRun {
    RunPaths paths;
    Experiment experiment;  ///< its history says what held at which step
    /// Of the data that it was trained on, by its log; with a log of schema 1.0, which does not know, of those at hand.
    std::string data_sha256;
    /// How the data at hand differ from these, as a sentence; empty: they are the run's own.
    std::string other_data;
    std::string run_id;
    std::int64_t first_step = 0;  ///< 0, or the step that a fork begins at
    std::int64_t last_step = 0;   ///< updates done, as far as the log and the checkpoints tell
    bool finished = false;
    /// What differs between the program or machine that trained and this one, a sentence each: bits may differ then.
    std::vector<std::string> warnings;
    std::map<std::int64_t, StepResult> train_rows;  ///< the rows of /train
    std::map<std::int64_t, double> eval_losses;     ///< the rows of /eval
};

/// What `config`, that of the run which the log is of, was at which step: one part at least. Of a log that tells no
/// history, its own config holds for all steps: the file may be newer, when a resume was killed before its first log.
ConfigHistory config_history_of(const LogReader& log, const Config& config);

/// RUN/log.h5 of a run that can be looked back at. Throws UsageError when there is no such run, or it is a replay;
/// IoError when the log cannot be read.
LogReader log_of_past_run(const std::string& folder);

/// Opens RUN/config.toml, with overrides that `resume` may make, RUN/log.h5 and the data. Throws what
/// log_of_past_run() does; UsageError when the config is that of another run than the log, or the data are not the
/// run's own and `any_data` is false; IoError when there are none. Touches nothing.
PastRun open_past_run(const std::string& folder, const std::vector<std::string>& overrides = {}, bool any_data = false);

/// Throws UsageError that lists the steps there are when the run has no state after `step` updates.
void require_step(const PastRun& run, std::int64_t step);

/// Puts `state`, of the run's experiment, into the state after `step` updates: that of its checkpoint (IoError when
/// that is damaged), or trained again from the nearest good checkpoint before it or from the start, every step checked
/// by HistoryCheck. Throws UsageError when the run has no such step, or it takes training on data that are not at hand.
void bring_to(const PastRun& run, std::int64_t step, TrainingState& state, const RunHooks& hooks);

/// Throws CheckFailed when a step computed again gave another bit of loss, learning rate or gradient norm than the row
/// of /train about it, or when weights or optimizer state differ in a bit from the checkpoint of a step. No row, no
/// checkpoint, or a damaged one, says nothing.
class HistoryCheck : public Observer {
public:
    /// `checkpoints`: compare with checkpoints too, and not only with rows.
    HistoryCheck(const PastRun& run, bool checkpoints) : run_(run), checkpoints_(checkpoints) {}
    void keep_weights(TrainingState& state, bool last) override;
    void after_step(TrainingState& state, const StepResult& result) override;

private:
    const PastRun& run_;
    bool checkpoints_;
};

/// The run's state after `step` updates by bring_to(), complete: with the best evaluation up to there.
Checkpoint state_at(const PastRun& run, std::int64_t step, const RunHooks& hooks);

}  // namespace headscope::experiments
