#include "experiments/analysis/summary.h"

#include "experiments/analysis/summary_parts.h"
#include "experiments/base/errors.h"

namespace headscope::experiments {

namespace {

std::vector<Floor> as_floors(const std::vector<NamedNumber>& numbers) {
    std::vector<Floor> floors;
    for (const NamedNumber& number : numbers) floors.push_back({number.name, number.value});
    return floors;
}

}  // namespace

RunSummary read_summary(const std::string& run) {
    const LogReader log = LogReader::of_run(run, "inspect");
    RunSummary summary;
    summary.run = run;
    summary.state = read_run_state(run, log);
    if (!summary.state.problem.empty()) summary.notes.push_back(summary.state.problem + ".");
    summary.seed = log.seed();
    summary.step = steps_done(run, log);
    summary.lineage = log.lineage();
    summary.train_step = log.last_step("train");
    summary.train_loss = log.last_value("train/loss");
    summary.elapsed = log.last_value("train/elapsed");
    summary.eval_step = log.last_step("eval");
    summary.eval_loss = log.last_value("eval/loss");
    summary.eval_accuracy = log.last_value("eval/accuracy");
    summary.floors = as_floors(log.floors());
    summary.references = as_floors(log.references());
    summary.overlap_null_mean = summary.overlap_null_std = not_measured;
    read_heads(log, summary);
    read_ablation(log, summary);
    summary.events = log.events();
    return summary;
}

}  // namespace headscope::experiments
