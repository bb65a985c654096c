#include "experiments/config/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "experiments/base/errors.h"
#include "experiments/probes/probe.h"

namespace headscope::experiments {

namespace {

/// What the probes of a config keep in memory.
struct ProbeNeeds {
    bool captures = false, captured_gradients = false;
    bool own_gradients = false;  // of passes that probes make for themselves
    bool weights_before = false;
};

ProbeNeeds needs_of(const LogConfig& log) {
    ProbeNeeds needs;
    for (const auto& [name, every] : log.probes) {
        const std::unique_ptr<Probe> probe = make_probe(name);
        needs.weights_before = needs.weights_before || probe->stage() == ProbeStage::update;
        if (const auto* capture = dynamic_cast<const CaptureProbe*>(probe.get())) {
            needs.captures = true;
            needs.captured_gradients = needs.captured_gradients || capture->needs_activation_gradients();
        } else if (probe->makes_passes()) {
            needs.own_gradients = true;
        }
    }
    return needs;
}

/// Values in the true distributions of the evaluation batches: [B, T, V] each, where the task knows them.
double truth_values(const Experiment& experiment) {
    const Task& task = *experiment.task;
    if (!task.knows_truth()) return 0;
    const std::int64_t batch = experiment.config.train.batch_size, available = task.eval_batches(batch);
    const std::int64_t wanted = experiment.config.eval.batches;
    return static_cast<double>(available < 0 ? wanted : std::min(wanted, available)) * static_cast<double>(batch) *
           static_cast<double>(task.seq_len()) * static_cast<double>(task.vocab_size());
}

}  // namespace

double MemoryEstimate::total() const {
    double sum = 0;
    for (const Part& part : parts) sum += part.bytes;
    return sum;
}

const MemoryEstimate::Part& MemoryEstimate::largest() const {
    return *std::max_element(parts.begin(), parts.end(),
                             [](const Part& a, const Part& b) { return a.bytes < b.bytes; });
}

MemoryEstimate estimate_memory(const Experiment& experiment) {
    const Config& config = experiment.config;
    const nn::BlockOptions& block = experiment.model.block;
    const double element = config.train.dtype == "float64" ? 8 : 4;
    const auto layers = static_cast<double>(experiment.model.num_layers);
    const auto batch = static_cast<double>(config.train.batch_size);
    const std::int64_t seq_len = experiment.task->seq_len();
    const auto length = static_cast<double>(seq_len);
    const auto d = static_cast<double>(block.d_model), heads = static_cast<double>(block.num_heads);
    const double inner = heads * static_cast<double>(experiment.model.head_dim());

    const std::int64_t underway = config.train.batch_size / config.train.accumulate;  // sequences at once
    const nn::ModelOutline outline(experiment.model, underway, seq_len);
    const double parameters = outline.parameters * element;
    // Logits and their gradient.
    const double logits = 2 * static_cast<double>(underway) * length * static_cast<double>(experiment.model.vocab_size);

    MemoryEstimate estimate;
    estimate.parts = {{"parameters", parameters},
                      {"gradients", parameters},
                      {"optimizer state", parameters * config.optimizer.settings->states_per_parameter()},
                      {"activations", element * outline.kept},
                      {"logits and their gradient", element * logits}};
    if (config.train.accumulate > 1)  // gradient_tree.h keeps a sum for every 1 in the binary number of parts done
        estimate.parts.push_back({"sums of micro-batches' gradients",
                                  parameters * std::floor(std::log2(static_cast<double>(config.train.accumulate)))});
    if (const double truth = truth_values(experiment); truth > 0)
        estimate.parts.push_back({"true distributions of evaluation batches", 8 * truth});
    const ProbeNeeds needs = needs_of(config.log);
    if (needs.captures) {
        // One batch at a time, at least the 16 sequences of sequences.h. Per block: scores and weights [B, H, T, T]; q,
        // k, v and the heads' output twice, side by side and head by head; each head's result in the model's width.
        // Gradients: as much again, and the graph and the gradients of a step, which holds none while probes run.
        const double captured = std::max(batch, 16.0) * length;
        const double values = layers * captured * heads * (2 * length + d) + layers * captured * 8 * inner;
        estimate.parts.push_back({"activations for probes", element * (needs.captured_gradients ? 2 : 1) * values});
    }
    if (needs.captured_gradients || needs.own_gradients)
        estimate.parts.push_back({"gradients for probes", (needs.own_gradients ? 2 : 1) * parameters});  // and a sum
    if (config.log.attention > 0) {
        // The weights of all layers, a row of them in doubles twice and once more in the log's own type.
        const double sequences = static_cast<double>(config.log.attention_samples), maps = layers * heads * length;
        estimate.parts.push_back(
            {"attention maps", sequences * length * (maps * (2 * element + 16) + layers * 8 * inner * element)});
    }
    if (needs.weights_before) estimate.parts.push_back({"weights before the update, for probes", parameters});
    return estimate;
}

void refuse_if_too_large(const MemoryEstimate& estimate, double available) {
    if (estimate.total() <= available) return;
    const MemoryEstimate::Part& largest = estimate.largest();
    throw UsageError(fmt::format(
        "model: a training step needs about {} of memory, and {} is available; the largest part is {} with {}; make "
        "the model, the sequences or train.batch_size smaller",
        readable_bytes(estimate.total()), readable_bytes(available), largest.name, readable_bytes(largest.bytes)));
}

std::string readable_bytes(double bytes) {
    const char* const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    std::size_t unit = 0;
    while (bytes >= 1000 && unit + 1 < std::size(units)) {
        bytes /= 1000;
        ++unit;
    }
    return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, units[unit]);
}

}  // namespace headscope::experiments
