// What a run's folder holds beside its metrics: ablations and events.
#include <fmt/format.h>

#include <algorithm>

#include "experiments/cli/summary_parts.h"
#include "experiments/errors.h"
#include "experiments/storage/log_seal.h"
#include "experiments/storage/run_folder.h"

namespace headscope::cli {

namespace {

void read_newest_ablation(const hdf5::File& file, RunSummary& summary) {
    const std::vector<std::int64_t> steps = file.read<std::int64_t>("/step");  // [S]
    const std::vector<double> deltas = file.read<double>("/delta");            // [S, L, H, kind]
    const hdf5::Dims shape = file.info("/delta").shape;
    if (shape.size() != 4 || shape[0] != static_cast<std::int64_t>(steps.size()) || shape[3] != 3)
        throw IoError("/delta is not [steps, layers, heads, 3]");
    if (steps.empty()) return;
    make_rows(summary, shape[1], shape[2]);
    const auto newest = std::max_element(steps.begin(), steps.end()) - steps.begin();
    summary.ablation_step = steps[static_cast<std::size_t>(newest)];
    auto delta = deltas.begin() + newest * shape[1] * shape[2] * 3;
    for (HeadRow& head : summary.heads) {
        std::copy_n(delta, 3, head.ablation.begin());
        delta += 3;
    }
}

}  // namespace

void read_ablation(const hdf5::File& log, RunSummary& summary) {
    const std::string path = RunPaths(summary.run).folder + "/ablation.h5";
    if (!path_exists(path)) return;
    try {
        const hdf5::File file = open_sealed(path);
        if (root_text(file, "run_id") == root_text(log, "run_id")) read_newest_ablation(file, summary);
        else summary.notes.push_back("ablation.h5 is of another run.");
    } catch (const IoError& error) {
        summary.notes.push_back(fmt::format("ablation.h5 cannot be used: {}.", error.what()));
    }
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

}  // namespace headscope::cli
