#include "experiments/cli/summary.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <set>

#include "experiments/errors.h"
#include "experiments/storage/checkpoint.h"
#include "experiments/storage/hdf5.h"
#include "experiments/storage/log_seal.h"
#include "experiments/storage/run_folder.h"

namespace headscope::cli {

namespace {

constexpr double not_measured = std::numeric_limits<double>::quiet_NaN();

/// The last row of a series.
double last_number(const hdf5::File& log, const std::string& path) {
    if (!log.has_dataset(path)) return not_measured;
    const std::vector<double> values = log.read<double>(path);
    return values.empty() ? not_measured : values.back();
}

std::int64_t last_step(const hdf5::File& log, const std::string& path) {
    if (!log.has_dataset(path)) return -1;
    const std::vector<std::int64_t> values = log.read<std::int64_t>(path);
    return values.empty() ? -1 : values.back();
}

/// The last row of /heads/<name>/value and its shape; empty when there is none.
struct MetricRow {
    hdf5::Dims shape;
    std::vector<double> values;
};

MetricRow last_row(const hdf5::File& log, const std::string& name, std::size_t rank) {
    const std::string path = "/heads/" + name + "/value";
    if (!log.has_dataset(path)) return {};
    hdf5::Dims shape = log.info(path).shape;
    if (shape.size() != rank + 1) throw IoError("inspect: " + path + " has another rank than this version writes");
    if (shape[0] == 0) return {};
    const std::vector<double> all = log.read<double>(path);
    const auto row = static_cast<std::ptrdiff_t>(all.size()) / shape[0];
    shape.erase(shape.begin());
    return {shape, {all.end() - row, all.end()}};
}

HeadRow& row_of(RunSummary& summary, std::int64_t heads, std::int64_t layer, std::int64_t head) {
    return summary.heads[static_cast<std::size_t>(layer * heads + head)];
}

/// Makes the rows when no metric has done so yet.
void make_rows(RunSummary& summary, std::int64_t layers, std::int64_t heads) {
    if (!summary.heads.empty()) return;
    std::array<double, 4> unknown;
    unknown.fill(not_measured);
    for (std::int64_t layer = 0; layer < layers; ++layer)
        for (std::int64_t head = 0; head < heads; ++head)
            summary.heads.push_back({layer, head, unknown, unknown, unknown, not_measured});
}

void read_grad_norms(const hdf5::File& log, RunSummary& summary) {
    const MetricRow row = last_row(log, "grad_norm", 3);  // [L, H, 4]
    if (row.values.empty()) return;
    make_rows(summary, row.shape[0], row.shape[1]);
    for (std::size_t i = 0; i < row.values.size(); ++i) summary.heads[i / 4].grad_norm[i % 4] = row.values[i];
}

void read_entropies(const hdf5::File& log, RunSummary& summary) {
    const MetricRow row = last_row(log, "attention_entropy", 2);  // [L, H]
    if (row.values.empty()) return;
    make_rows(summary, row.shape[0], row.shape[1]);
    for (std::size_t i = 0; i < row.values.size(); ++i) summary.heads[i].entropy = row.values[i];
}

/// What is measured of each head that tells its role. Returns true when that is all of it, at one and the same step.
bool read_evidence(const hdf5::File& log, RunSummary& summary) {
    std::set<std::int64_t> steps;
    for (std::size_t m = 0; m < role_metrics.size(); ++m) {
        const MetricRow row = last_row(log, role_metrics[m], 2);  // [L, H]
        steps.insert(row.values.empty() ? -1 : last_step(log, "/heads/" + std::string(role_metrics[m]) + "/step"));
        if (row.values.empty()) continue;
        make_rows(summary, row.shape[0], row.shape[1]);
        for (std::size_t i = 0; i < row.values.size(); ++i) summary.heads[i].evidence[m] = row.values[i];
    }
    return steps.size() == 1 && *steps.begin() >= 0;
}

void read_roles(const hdf5::File& log, RunSummary& summary) {
    const bool complete = read_evidence(log, summary);
    const MetricRow row = last_row(log, "role", 2);  // [L, H]
    if (!row.values.empty()) {
        make_rows(summary, row.shape[0], row.shape[1]);
        for (std::size_t i = 0; i < row.values.size(); ++i) {
            if (!(row.values[i] >= 0 && row.values[i] < static_cast<double>(role_names().size())))
                throw IoError("inspect: /heads/role/value holds a code that stands for no role");
            summary.heads[i].role = role_names()[static_cast<std::size_t>(row.values[i])];
        }
        return;
    }
    if (!complete) return;
    const std::string distance = "/heads/attention_distance/value";  // from 0, or -(T - 1), to T - 1
    const auto seq_len = static_cast<std::int64_t>(log.number_attribute(distance, "maximum")) + 1;
    const bool causal = log.number_attribute(distance, "minimum") >= 0;
    const std::int64_t last_layer = summary.heads.back().layer;
    for (HeadRow& head : summary.heads) {
        const Role role = role_of(head.evidence, {seq_len, causal, last_layer - head.layer});
        head.role = role_names()[static_cast<std::size_t>(role)];
    }
}

/// Means over the other heads. Given one head, its overlaps with the others are independent under the null, so their
/// mean has the pair's standard deviation over sqrt(H - 1).
void read_overlaps(const hdf5::File& log, RunSummary& summary) {
    const MetricRow row = last_row(log, "overlap", 4);  // [L, 4, H, H]
    if (row.values.empty()) return;
    const std::int64_t layers = row.shape[0], heads = row.shape[2];
    make_rows(summary, layers, heads);
    const double null_mean = summary.overlap_null_mean = log.number_attribute("/heads/overlap/value", "null_mean");
    const double null_std = summary.overlap_null_std = log.number_attribute("/heads/overlap/value", "null_std");
    if (heads < 2) return;
    std::size_t index = 0;
    for (std::int64_t layer = 0; layer < layers; ++layer)
        for (std::size_t projection = 0; projection < 4; ++projection)
            for (std::int64_t i = 0; i < heads; ++i) {
                double sum = 0;
                for (std::int64_t j = 0; j < heads; ++j, ++index) {
                    const double overlap = row.values[index];
                    if (i == j) continue;
                    sum += overlap;
                    if (i < j && (summary.top_pair.empty() || overlap > summary.top_pair[0].overlap))
                        summary.top_pair = {{layer, i, j, projection, overlap, (overlap - null_mean) / null_std}};
                }
                const double others = static_cast<double>(heads - 1);
                HeadRow& head = row_of(summary, heads, layer, i);
                head.overlap[projection] = sum / others;
                head.overlap_z[projection] = (sum / others - null_mean) / (null_std / std::sqrt(others));
            }
}

/// The numbers of a group by name; none when the log has no such group.
std::vector<Floor> read_lines(const hdf5::File& log, const std::string& group) {
    std::vector<Floor> lines;
    if (log.has_group(group))
        for (const std::string& name : log.children(group))
            lines.push_back({name, log.read<double>(group + "/" + name).at(0)});
    return lines;
}

}  // namespace

RunSummary read_summary(const std::string& run) {
    const RunPaths paths(run);
    if (!std::filesystem::is_directory(run)) throw UsageError("inspect: there is no run folder " + run);
    if (!std::filesystem::exists(paths.log))
        throw UsageError("inspect: " + run + " has no log.h5 (yet); name the folder of a run");
    const hdf5::File log = open_log(paths.log);

    RunSummary summary;
    summary.run = run;
    summary.state = log.text_attribute("/", "state");
    summary.seed = log.integer_attribute("/", "seed");
    summary.train_step = last_step(log, "/train/step");
    summary.train_loss = last_number(log, "/train/loss");
    summary.elapsed = last_number(log, "/train/elapsed");
    summary.eval_step = last_step(log, "/eval/step");
    summary.eval_loss = last_number(log, "/eval/loss");
    summary.eval_accuracy = last_number(log, "/eval/accuracy");
    const std::vector<std::int64_t> checkpoints = list_checkpoints(paths.checkpoints);
    summary.step = std::max({summary.train_step, summary.eval_step, checkpoints.empty() ? 0 : checkpoints.back()});
    summary.floors = read_lines(log, "/task/floors");
    summary.references = read_lines(log, "/task/references");
    summary.overlap_null_mean = summary.overlap_null_std = not_measured;
    read_grad_norms(log, summary);
    read_entropies(log, summary);
    read_roles(log, summary);
    read_overlaps(log, summary);
    return summary;
}

}  // namespace headscope::cli
