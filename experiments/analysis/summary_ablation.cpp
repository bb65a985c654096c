// The ablations of a run, for its summary.
#include <fmt/format.h>

#include <algorithm>

#include "experiments/analysis/summary_parts.h"
#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "experiments/storage/log_seal.h"
#include "experiments/storage/run_folder.h"

namespace headscope::experiments {

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

void read_ablation(const LogReader& log, RunSummary& summary) {
    const std::string path = RunPaths(summary.run).folder + "/ablation.h5";
    if (!path_exists(path)) return;
    try {
        const hdf5::File file = open_sealed(path);
        if ((file.has_attribute("/", "run_id") ? file.text_attribute("/", "run_id") : "") == log.run_id())
            read_newest_ablation(file, summary);
        else summary.notes.push_back("ablation.h5 is of another run.");
    } catch (const IoError& error) {
        summary.notes.push_back(fmt::format("ablation.h5 cannot be used: {}.", error.what()));
    }
}

}  // namespace headscope::experiments
