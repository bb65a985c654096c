#include "experiments/cli/check_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>

#include "experiments/base/available_memory.h"
#include "experiments/base/errors.h"
#include "experiments/cli/output.h"
#include "experiments/cli/text_tokens.h"
#include "experiments/config/config.h"
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

void print_walk(const nn::TransformerOptions& options, std::int64_t batch, std::int64_t length) {
    const nn::BlockOptions& block = options.block;
    print_out("# Shapes on the way through the model\n");
    print_out("# B = {}, T = {}, d = {}, H = {}, d_k = {}, V = {}\n\n", batch, length, block.d_model, block.num_heads,
              options.head_dim(), options.vocab_size);
    for (const nn::Outline::Step& step : nn::ModelOutline(options, batch, length).steps) {
        const std::string line = fmt::format("{:<24}{:<17}{:<26}{}", step.name, step.symbols,
                                             fmt::format("({})", fmt::join(step.sizes, ", ")), step.note);
        print_out("{}\n", line.substr(0, line.find_last_not_of(' ') + 1));
    }
}

void print_walk_of_text(const Experiment& experiment, const std::string& text) {
    const nn::TransformerOptions& options = experiment.model;
    const std::vector<TextTokens> cuts = cut_text(*experiment.task, text);
    for (const TextTokens& cut : cuts) {
        if (&cut != &cuts.front()) print_out("\n");
        const std::int64_t length = std::ssize(cut.ids);
        if (options.position == nn::PositionEncoding::learned && length > options.max_len)
            throw UsageError(
                fmt::format("check: the text has {} tokens and model.max_len = {}; shorten it, or make "
                            "model.max_len larger",
                            length, options.max_len));
        print_out("# The text as {} tokens: {}\n\n", length, cut.how);
        print_out("{:<24}{}\n", "tokens", fmt::join(cut.tokens, " | "));
        print_out("{:<24}{}\n", "ids", fmt::join(cut.ids, " | "));
        print_out("{:<24}[{}, {}], the model's input, a row per token; as a batch of one (1, {}, {})\n\n", "X", length,
                  options.block.d_model, length, options.block.d_model);

        print_walk(options, 1, length);
    }
}

void print_sizes(const Experiment& experiment, const MemoryEstimate& memory, std::optional<double> available) {
    print_out("\n# Parameters\n\n");
    const std::int64_t batch = experiment.config.train.batch_size, length = experiment.task->seq_len();
    const nn::ModelOutline outline(experiment.model, batch, length);
    for (const nn::ModelOutline::Part& part : outline.parts)
        print_out("{:<32}{:>20}\n", part.name, readable_count(part.parameters));
    print_out("{:<32}{:>20}\n", "total", readable_count(outline.parameters));

    print_out("\n# Memory of a training step (estimate)\n\n");
    for (const MemoryEstimate::Part& part : memory.parts) {
        print_out("{:<32}{:>20}\n", part.name, readable_bytes(part.bytes));
    }
    print_out("{:<32}{:>20}\n", "total", readable_bytes(memory.total()));
    if (available) print_out("{:<32}{:>20}\n", "available here", readable_bytes(*available));

    print_out("\n# Arithmetic\n\n");
    print_out("{:<32}{:>20}\n", "tokens per step", readable_count(static_cast<double>(batch * length)));
    print_out("{:<32}{:>20}\n", "FLOPs per step", readable_flops(outline.flops));
    print_out("{:<32}{:>20}\n", "FLOPs of the run",
              readable_flops(outline.flops * static_cast<double>(experiment.config.train.steps)));
}

}  // namespace

void print_check(const std::string& config, const std::vector<std::string>& overrides,
                 const std::optional<std::string>& text) {
    const Experiment experiment = build_experiment_of_any_size(load_users_config(config, overrides));
    for (const std::string& note : experiment.notes()) print_note(note + "\n");
    const std::optional<double> available = available_memory();
    const MemoryEstimate memory = estimate_memory(experiment);

    print_out("# Resolved config\n\n{}\n", experiment.config.resolved());
    if (text) print_walk_of_text(experiment, *text);
    else print_walk(experiment.model, experiment.config.train.batch_size, experiment.task->seq_len());
    print_sizes(experiment, memory, available);
    std::fflush(stdout);
    if (available) refuse_if_too_large(memory, *available);
}

}  // namespace headscope::experiments::cli
