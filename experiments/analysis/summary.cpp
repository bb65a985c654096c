#include "experiments/analysis/summary.h"

#include "experiments/analysis/summary_parts.h"
#include "experiments/base/errors.h"

namespace headscope::experiments {

namespace {

/// The numbers of a group by name; none when the log has no such group.
std::vector<Floor> read_lines(const hdf5::File& log, const std::string& group) {
    std::vector<Floor> lines;
    if (log.has_group(group))
        for (const std::string& name : log.children(group)) {
            const std::vector<double> values = log.read<double>(group + "/" + name);
            if (values.size() != 1) throw IoError("inspect: " + group + "/" + name + " is not a single number");
            lines.push_back({name, values[0]});
        }
    return lines;
}

void read_events(const hdf5::File& log, RunSummary& summary) {
    if (!log.has_dataset("/events/step")) return;
    const std::vector<std::int64_t> steps = log.read<std::int64_t>("/events/step"),
                                    times = log.read<std::int64_t>("/events/time");
    const std::vector<std::string> kinds = log.read_texts("/events/kind"), messages = log.read_texts("/events/message");
    if (times.size() != steps.size() || kinds.size() != steps.size() || messages.size() != steps.size())
        throw IoError("inspect: the datasets of /events differ in length; the log is damaged");
    for (std::size_t i = 0; i < steps.size(); ++i)
        summary.events.push_back({steps[i], times[i], kinds[i], messages[i]});
}

}  // namespace

RunSummary read_summary(const std::string& run) {
    const hdf5::File log = open_run_log(run, "inspect");
    RunSummary summary;
    summary.run = run;
    summary.state = log.text_attribute("/", "state");
    summary.seed = log.integer_attribute("/", "seed");
    summary.step = steps_done(run, log);
    summary.lineage = read_lineage(log);
    summary.train_step = last_step(log, "/train/step");
    summary.train_loss = last_number(log, "/train/loss");
    summary.elapsed = last_number(log, "/train/elapsed");
    summary.eval_step = last_step(log, "/eval/step");
    summary.eval_loss = last_number(log, "/eval/loss");
    summary.eval_accuracy = last_number(log, "/eval/accuracy");
    summary.floors = read_lines(log, "/task/floors");
    summary.references = read_lines(log, "/task/references");
    summary.overlap_null_mean = summary.overlap_null_std = not_measured;
    read_heads(log, summary);
    read_ablation(log, summary);
    read_events(log, summary);
    return summary;
}

}  // namespace headscope::experiments
