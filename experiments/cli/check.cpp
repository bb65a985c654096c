#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>

#include "experiments/cli/verbs.h"
#include "experiments/config/config.h"
#include "experiments/config/dimension_walk.h"
#include "experiments/config/memory.h"

namespace headscope::cli {

namespace {

std::string readable_count(double count) {
    if (count >= 9e15) return fmt::format("{:.3e}", count);
    const std::string digits = fmt::format("{:.0f}", count);
    std::string out;
    for (std::size_t i = 0; i < digits.size(); ++i) {
        if (i > 0 && (digits.size() - i) % 3 == 0) out += ',';
        out += digits[i];
    }
    return out;
}

std::string readable_flops(double flops) {
    const char* const units[] = {"MFLOP", "GFLOP", "TFLOP", "PFLOP", "EFLOP"};
    std::size_t unit = 0;
    double value = flops / 1e6;
    for (; value >= 1000 && unit + 1 < std::size(units); ++unit) value /= 1000;
    return fmt::format("{:.2f} {}", value, units[unit]);
}

// The walk is taken from the model itself where that is cheap, else worked out from its options.
void print_walk(const Experiment& experiment, double available) {
    const nn::TransformerOptions& options = experiment.model;
    const std::int64_t batch = experiment.config.train.batch_size, length = experiment.task->seq_len();
    constexpr double bytes_per_value = 4;
    const double model_bytes = bytes_per_value * parameter_count(options);
    // The record of one sequence's weights, its logits and widest layer, with room for what comes and goes.
    const double widest = static_cast<double>(length) + static_cast<double>(options.block.d_ff) +
                          static_cast<double>(options.vocab_size) + 8 * static_cast<double>(options.block.d_model);
    const double sequence_bytes =
        4 * bytes_per_value * static_cast<double>(length) * static_cast<double>(options.block.num_heads) * widest;
    constexpr double budget = 1e9;
    const bool build = model_bytes + sequence_bytes < std::min(budget, available / 2);

    WalkShapes shapes;
    if (build) {
        nn::Transformer model(options);
        const double whole_batch = sequence_bytes * static_cast<double>(batch);
        shapes = measure_shapes(model, whole_batch < budget / 4 ? batch : 1, length);
    } else {
        shapes = compute_shapes(options, batch, length);
    }
    const nn::BlockOptions& block = options.block;
    fmt::print("# Shapes on the way through the model ({})\n",
               build ? "from a forward pass" : "worked out: the model is too large to build for a look");
    fmt::print("# B = {}, T = {}, d = {}, H = {}, d_k = {}, V = {}\n\n", batch, length, block.d_model, block.num_heads,
               block.head_dim, options.vocab_size);
    for (const WalkStep& step : dimension_walk(options, shapes, batch)) {
        const std::string line = fmt::format("{:<24}{:<17}{:<26}{}", step.name, step.symbols,
                                             fmt::format("({})", fmt::join(step.sizes, ", ")), step.note);
        fmt::print("{}\n", line.substr(0, line.find_last_not_of(' ') + 1));
    }
}

void print_sizes(const Experiment& experiment, const MemoryEstimate& memory, std::optional<double> available) {
    fmt::print("\n# Parameters\n\n");
    for (const ParameterGroupCount& group : count_by_part(experiment.model)) {
        fmt::print("{:<32}{:>20}\n", group.name, readable_count(group.count));
    }
    fmt::print("{:<32}{:>20}\n", "total", readable_count(parameter_count(experiment.model)));

    fmt::print("\n# Memory of a training step (estimate)\n\n");
    for (const MemoryEstimate::Part& part : memory.parts) {
        fmt::print("{:<32}{:>20}\n", part.name, readable_bytes(part.bytes));
    }
    fmt::print("{:<32}{:>20}\n", "total", readable_bytes(memory.total()));
    if (available) fmt::print("{:<32}{:>20}\n", "available here", readable_bytes(*available));

    const std::int64_t batch = experiment.config.train.batch_size, length = experiment.task->seq_len();
    const double flops = flops_per_step(experiment.model, batch, length);
    fmt::print("\n# Arithmetic\n\n");
    fmt::print("{:<32}{:>20}\n", "tokens per step", readable_count(static_cast<double>(batch * length)));
    fmt::print("{:<32}{:>20}\n", "FLOPs per step", readable_flops(flops));
    fmt::print("{:<32}{:>20}\n", "FLOPs of the run",
               readable_flops(flops * static_cast<double>(experiment.config.train.steps)));
}

}  // namespace

void check(const std::string& config, const std::vector<std::string>& overrides) {
    const Experiment experiment = settle(load_config(config, overrides));
    const std::optional<double> available = available_memory();
    const MemoryEstimate memory = estimate_memory(experiment);

    fmt::print("# Resolved config\n\n{}\n", experiment.config.resolved());
    print_walk(experiment, available.value_or(memory.total()));
    print_sizes(experiment, memory, available);
    std::fflush(stdout);
    if (available) refuse_if_too_large(memory, *available);
}

}  // namespace headscope::cli
