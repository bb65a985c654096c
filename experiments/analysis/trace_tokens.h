// What a trace runs through the weights.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "experiments/config/config.h"
#include "experiments/tasks/token_file.h"

namespace headscope::experiments {

/// A file of a user's, see token_file.h.
struct TraceFile {
    std::string path;
};

/// A text, in the tokens of the run's own task.
struct TraceText {
    std::string text;
};

/// The batches that the run is evaluated on.
struct TraceEvaluation {
    std::optional<std::int64_t> batches;  ///< only the first so many
};

using TraceSource = std::variant<TraceFile, TraceText, TraceEvaluation>;

/// The text's n tokens as inputs and the next tokens as targets, [windows, 1, T] with T = min(n, task.seq_len()).
/// Windows lie side by side, but for the last, which ends with the text: what it shares with the one before is not
/// scored again. So each token but the first is a scored target once, and none is seen from another window. Throws
/// UsageError when the task's tokens are no text, or the text is empty or has characters without a token (named).
TokenFile tokens_of_text(const Task& task, const std::string& text);

/// The evaluation batches as the run had them at `step`. Rows that the last one has fewer than the others are copies of
/// its last row, not scored. Throws UsageError when there are none.
TokenFile tokens_of_evaluation(const Experiment& experiment, std::int64_t step, const TraceEvaluation& which);

}  // namespace headscope::experiments
