#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>

#include "experiments/base/errors.h"
#include "experiments/cli/text_tokens.h"
#include "experiments/cli/verbs.h"
#include "experiments/config/config.h"
#include "experiments/config/dimension_walk.h"
#include "experiments/config/memory.h"

namespace headscope::experiments::cli {

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

constexpr double measuring_budget = 1e9;  // bytes

// Of a forward pass over one sequence: the record of its weights, its logits and widest layer, with room for what comes
// and goes.
double bytes_per_sequence(const nn::TransformerOptions& options, std::int64_t length) {
    const double widest = static_cast<double>(length) + static_cast<double>(options.block.d_ff) +
                          static_cast<double>(options.vocab_size) + 8 * static_cast<double>(options.block.d_model);
    return 16 * static_cast<double>(length) * static_cast<double>(options.block.num_heads) * widest;
}

// The walk is taken from the model itself where that is cheap, else worked out from its options.
bool cheap_to_build(const nn::TransformerOptions& options, std::int64_t length, double available) {
    return 4 * parameter_count(options) + bytes_per_sequence(options, length) <
           std::min(measuring_budget, available / 2);
}

void print_walk(const nn::TransformerOptions& options, const WalkShapes& shapes, bool measured, std::int64_t batch,
                std::int64_t length) {
    const nn::BlockOptions& block = options.block;
    fmt::print("# Shapes on the way through the model ({})\n",
               measured ? "from a forward pass" : "worked out: the model is too large to build for a look");
    fmt::print("# B = {}, T = {}, d = {}, H = {}, d_k = {}, V = {}\n\n", batch, length, block.d_model, block.num_heads,
               block.head_dim, options.vocab_size);
    for (const WalkStep& step : dimension_walk(options, shapes, batch)) {
        const std::string line = fmt::format("{:<24}{:<17}{:<26}{}", step.name, step.symbols,
                                             fmt::format("({})", fmt::join(step.sizes, ", ")), step.note);
        fmt::print("{}\n", line.substr(0, line.find_last_not_of(' ') + 1));
    }
}

void print_walk_of_batch(const Experiment& experiment, double available) {
    const nn::TransformerOptions& options = experiment.model;
    const std::int64_t batch = experiment.config.train.batch_size, length = experiment.task->seq_len();
    if (!cheap_to_build(options, length, available)) {
        print_walk(options, compute_shapes(options, batch, length), false, batch, length);
        return;
    }
    nn::Transformer model(options);
    const double whole_batch = bytes_per_sequence(options, length) * static_cast<double>(batch);
    const std::int64_t rows = whole_batch < measuring_budget / 4 ? batch : 1;
    print_walk(options, measure_shapes(model, Tensor::zeros({rows, length}, DType::i64)), true, batch, length);
}

void print_walk_of_text(const Experiment& experiment, const std::string& text, double available) {
    const nn::TransformerOptions& options = experiment.model;
    const std::vector<TextTokens> cuts = cut_text(*experiment.task, text);
    for (const TextTokens& cut : cuts) {
        if (&cut != &cuts.front()) fmt::print("\n");
        const std::int64_t length = std::ssize(cut.ids);
        if (options.position == nn::PositionEncoding::learned && length > options.max_len)
            throw UsageError(
                fmt::format("check: the text has {} tokens and model.max_len = {}; shorten it, or make "
                            "model.max_len larger",
                            length, options.max_len));
        fmt::print("# The text as {} tokens: {}\n\n", length, cut.how);
        fmt::print("{:<24}{}\n", "tokens", fmt::join(cut.tokens, " | "));
        fmt::print("{:<24}{}\n", "ids", fmt::join(cut.ids, " | "));
        fmt::print("{:<24}[{}, {}], the model's input, a row per token; as a batch of one (1, {}, {})\n\n", "X", length,
                   options.block.d_model, length, options.block.d_model);

        const bool measured = cheap_to_build(options, length, available);
        WalkShapes shapes;
        if (measured) {
            nn::Transformer model(options);
            Tensor tokens = Tensor::empty({1, length}, DType::i64);
            std::ranges::copy(cut.ids, tokens.data<std::int64_t>());
            shapes = measure_shapes(model, tokens);
        } else {
            shapes = compute_shapes(options, 1, length);
        }
        print_walk(options, shapes, measured, 1, length);
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

void check(const std::string& config, const std::vector<std::string>& overrides,
           const std::optional<std::string>& text) {
    const Experiment experiment = build_experiment_of_any_size(load_config(config, overrides));
    const std::optional<double> available = available_memory();
    const MemoryEstimate memory = estimate_memory(experiment);

    fmt::print("# Resolved config\n\n{}\n", experiment.config.resolved());
    const double budget = available.value_or(memory.total());
    if (text) print_walk_of_text(experiment, *text, budget);
    else print_walk_of_batch(experiment, budget);
    print_sizes(experiment, memory, available);
    std::fflush(stdout);
    if (available) refuse_if_too_large(memory, *available);
}

}  // namespace headscope::experiments::cli
