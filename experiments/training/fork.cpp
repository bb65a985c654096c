#include "experiments/training/fork.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <span>

#include "experiments/base/environment.h"
#include "experiments/base/errors.h"
#include "experiments/base/file_replacement.h"
#include "experiments/config/config_history.h"
#include "experiments/config/writer.h"
#include "experiments/storage/log.h"
#include "experiments/storage/log_reader.h"
#include "experiments/training/run.h"

namespace headscope::experiments {
namespace {

/// Seconds trained before `step`, as far as the log tells.
double elapsed_before(const PastRun& run, std::int64_t step) {
    const Series elapsed = LogReader(run.paths.log).series("train/elapsed");
    double seconds = 0;
    for (std::size_t i = 0; i < elapsed.steps.size(); ++i)
        if (elapsed.steps[i] < step) seconds = elapsed.values[i];
    return seconds;
}

/// The same keys of [task], wherever its data are, and the same data.
bool same_task(const PastRun& parent, const Experiment& changed) {
    const auto of_task = [](const Config& config) {
        std::map<std::string, std::string> values = config_values(config);
        std::erase_if(values, [](const auto& value) { return !value.first.starts_with("task."); });
        return values;
    };
    return of_task(parent.experiment.config) == of_task(changed.config) &&
           parent.data_sha256 == changed.task->data_sha256();
}

void require_same_weights(const nn::StateDict& old_weights, const nn::StateDict& new_weights) {
    std::vector<std::string> other;
    for (const auto& [name, tensor] : new_weights) {
        const auto old = old_weights.find(name);
        if (old == old_weights.end()) other.push_back(name + " is new");
        else if (old->second.shape() != tensor.shape())
            other.push_back(
                fmt::format("{} would be {} instead of {}", name, tensor.shape().str(), old->second.shape().str()));
        else if (old->second.dtype() != tensor.dtype())
            other.push_back(fmt::format("{} would have another type (train.dtype)", name));
    }
    for (const auto& [name, tensor] : old_weights)
        if (!new_weights.contains(name)) other.push_back(name + " would be gone");
    if (other.empty()) return;
    const std::size_t count = other.size();
    if (count > 3) {
        other.resize(3);
        other.push_back(fmt::format("and {} more", count - 3));
    }
    throw UsageError(
        fmt::format("fork: a fork keeps the weights, so nothing may change their names, shapes or type: {}",
                    fmt::join(other, "; ")));
}

bool same_names_and_shapes(const optim::OptimizerState& a, const optim::OptimizerState& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& left, const auto& right) {
        return left.first == right.first && left.second.shape() == right.second.shape() &&
               left.second.dtype() == right.second.dtype();
    });
}

void write_folder(const PastRun& parent, const Experiment& changed, const Checkpoint& start, const Lineage& lineage,
                  const std::string& event, const std::string& data_change, const Folder& out) {
    save_start_checkpoint(out.subfolder(checkpoints_name), start);
    const LogPlace place(out, unfinished_log_name);
    auto log =
        same_task(parent, changed) ? Log::fork(parent.paths.log, start.step, place) : std::make_unique<Log>(place);
    log->set_attribute("run_id", start.run_id);
    log->set_attribute("created", utc_now());
    log->set_attribute("state", std::string("running"));
    log->set_data(changed.task->data_sha256());
    log->set_lineage(lineage);
    log->set_config(changed.config.resolved(), changed.config.source);
    log->set_config_history(write_config_history(changed.history));
    log->event(start.step, "fork", event);
    if (!data_change.empty()) log->event(start.step, "data", data_change);
    log->set_complete_until(start.step);  // also of a fork without its parent's rows
    log->publish();
    const std::string text = changed.config.resolved();
    write_file_atomically(out, config_file_name, std::as_bytes(std::span(text)));
    // Last: a folder without a log is no fork, and nobody goes on with half of one.
    out.rename(unfinished_log_name, log_file_name);
    out.sync();
}

}  // namespace

RunLock make_fork(const PastRun& parent, const Experiment& changed, std::int64_t step, const std::string& changes,
                  const std::string& data_change, const std::string& out, const RunHooks& hooks) {
    require_step(parent, step);
    Checkpoint start = state_at(parent, step, hooks);
    const Checkpoint fresh = TrainingState(changed).checkpoint();
    require_same_weights(start.model, fresh.model);
    const bool same_optimizer = parent.experiment.config.optimizer.type == changed.config.optimizer.type &&
                                same_names_and_shapes(start.optimizer, fresh.optimizer);
    if (!same_optimizer) start.optimizer = fresh.optimizer;
    if (!same_task(parent, changed) || parent.experiment.config.seed != changed.config.seed)
        start.best = {};  // of other data
    start.seed = changed.config.seed;
    start.config_identity = fresh.config_identity;
    start.data_sha256 = fresh.data_sha256;
    start.elapsed = elapsed_before(parent, step);
    start.run_id = new_run_id();
    if (changed.config.train.steps < step || is_finished(changed.config_at(step), start))
        throw UsageError(fmt::format("fork: at step {} the run is at its end; train.steps=N goes further{}", step,
                                     changed.config.eval.patience > 0 ? ", eval.patience=0 too" : ""));

    const std::string folder = std::filesystem::absolute(parent.paths.folder).lexically_normal().string();
    const std::string event =
        fmt::format("from {} at step {}, {}{}", folder, step, changes.empty() ? "nothing changed" : "with " + changes,
                    same_optimizer ? "" : "; the optimizer's state begins anew");
    NewRunFolder made(
        out, {fmt::format("{}/{}", checkpoints_name, start_checkpoint_name), unfinished_log_name, config_file_name},
        hooks.on_message);
    write_folder(parent, changed, start,
                 {"fork", folder, parent.run_id, config_family(parent.experiment.config), step, changes}, event,
                 data_change, made.folder());
    return made.keep();
}

}  // namespace headscope::experiments
