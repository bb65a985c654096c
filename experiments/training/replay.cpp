#include "experiments/training/replay.h"

#include <fmt/format.h>

#include <filesystem>

#include "experiments/base/errors.h"
#include "experiments/storage/log_seal.h"
#include "experiments/storage/log_tail.h"
#include "experiments/storage/run_folder.h"
#include "experiments/training/evaluation_observer.h"
#include "experiments/training/progress_observer.h"
#include "experiments/training/recorder.h"
#include "experiments/training/training_loop.h"

namespace headscope::experiments {
void check_replay_overrides(const std::vector<std::string>& overrides) {
    std::string message;
    for (const std::string& text : overrides) {
        const std::string key = text.substr(0, text.find_first_of(" \t="));
        if (key.starts_with("log.") || key == "eval.every" || key == "train.steps" || is_data_path(key)) continue;
        message += fmt::format(
            "{}command line: {}: a replay trains as the run did; only log.*, eval.every and the place of its data "
            "(task.path) can change; `headscope fork` changes more",
            message.empty() ? "" : "\n", text);
    }
    if (!message.empty()) throw UsageError(message);
}

LogComparison replay(const PastRun& run, std::int64_t from, std::int64_t to, const std::string& changes,
                     const std::string& out, const RunHooks& hooks) {
    if (from > to) throw UsageError(fmt::format("replay: --from {} is after --to {}", from, to));
    require_step(run, from);
    require_step(run, to);
    NewRunFolder made(out, {unfinished_log_name, tail_path(unfinished_log_name)}, hooks.on_message);
    TrainingState state(run.experiment);
    bring_to(run, from, state, hooks);

    const Config& config = run.experiment.config;
    const std::string path = made.folder().path_of(unfinished_log_name);
    auto log = std::make_unique<Log>(LogPlace(made.folder(), unfinished_log_name));
    log->set_lineage({"replay", std::filesystem::absolute(run.paths.folder).lexically_normal().string(), run.run_id,
                      config_family(config), from, changes});
    Recorder recorder(run.experiment, state.model(), std::move(log));
    recorder.start_clock(0);
    // Step `to` is trained too, for the rows that describe its gradients and its update, unless the run ended there.
    const bool at_end = to == run.experiment.config_at(to).train.steps || (run.finished && to == run.last_step);
    const LoopEnd end{.step = at_end ? to : to + 1, .looks_at_weights = at_end};
    const RunHooks silent;
    EvaluationObserver evaluation(run.experiment, recorder, silent);
    HistoryCheck history(run, true);
    ProgressObserver progress(hooks, from, to + 1, state.tokens_seen());
    try {
        run_training_loop(state, {&evaluation, &recorder, &history, &progress}, end, hooks.stop);
    } catch (const StopRequested&) {
        throw Stopped("replay: stopped by a signal; nothing is left behind");
    }
    recorder.set_state("finished");
    recorder.publish();

    const LogComparison comparison = compare_rows(open_log(run.paths.log), open_log(path), from, to);
    if (comparison.different > 0) {
        std::string message = fmt::format(
            "replay: {} of {} rows differ from those of {}, first {}; nothing is kept. Data, checkpoint or program "
            "have changed since it was trained",
            comparison.different, comparison.rows, run.paths.log, comparison.first);
        for (const std::string& warning : run.warnings) message += "\n" + warning;
        throw CheckFailed(message);
    }
    made.folder().require_in_place();
    made.folder().rename(unfinished_log_name, log_file_name);
    made.folder().sync();
    made.keep();
    return comparison;
}

}  // namespace headscope::experiments
