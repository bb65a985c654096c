#include "experiments/analysis/trace_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "experiments/base/errors.h"
#include "experiments/training/evaluation.h"

namespace headscope::experiments {

namespace {

/// Tensors [batches, B, T] of tokens 0 and targets that are not scored.
TokenFile unscored_tokens(const Shape& shape) {
    return {Tensor::zeros(shape, DType::i64), Tensor::full(shape, -1, DType::i64)};
}

}  // namespace

TokenFile tokens_of_text(const Task& task, const std::string& text) {
    if (text.empty()) throw UsageError("trace: --text is empty; give at least one character");
    const std::optional<std::vector<std::int64_t>> encoded = task.encode(text);
    if (!encoded)
        throw UsageError(
            "trace: --text is for runs of task `text`, and the tokens of this run's task are no text; use "
            "--tokens or --eval");
    const std::vector<std::int64_t>& ids = *encoded;
    const std::int64_t size = std::ssize(ids), T = std::min(size, task.seq_len()), windows = (size + T - 1) / T;
    TokenFile tokens = unscored_tokens({windows, 1, T});
    for (std::int64_t w = 0; w < windows; ++w) {
        const std::int64_t start = std::min(w * T, size - T);
        std::copy_n(ids.data() + start, T, tokens.inputs.data<std::int64_t>() + w * T);
        for (std::int64_t place = w * T; place < std::min(start + T, size - 1); ++place)
            tokens.targets.data<std::int64_t>()[w * T + place - start] = ids[static_cast<std::size_t>(place + 1)];
    }
    return tokens;
}

TokenFile tokens_of_evaluation(const Experiment& experiment, std::int64_t step, const TraceEvaluation& which) {
    const std::int64_t wanted = which.batches.value_or(experiment.config_at(step).eval.batches);
    const std::vector<Batch> batches = evaluation_batches(experiment, wanted);
    if (batches.empty())
        throw UsageError(
            fmt::format("trace: --eval needs evaluation data, and this run of task `{}` has none; use --tokens FILE.h5",
                        experiment.config.task.type));
    const std::int64_t B = batches.front().inputs.size(0), T = batches.front().inputs.size(1);
    TokenFile tokens = unscored_tokens({std::ssize(batches), B, T});
    auto* input = tokens.inputs.data<std::int64_t>();
    auto* target = tokens.targets.data<std::int64_t>();
    for (const Batch& batch : batches) {
        const auto* rows = batch.inputs.data<std::int64_t>();
        std::copy_n(batch.targets.data<std::int64_t>(), batch.targets.numel(), target);
        for (std::int64_t b = 0; b < B; ++b)
            input = std::copy_n(rows + std::min(b, batch.inputs.size(0) - 1) * T, T, input);
        target += B * T;
    }
    return tokens;
}

}  // namespace headscope::experiments
