// Task `tokens` with task.stream = true: the next token of a row of tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "experiments/tasks/task.h"
#include "experiments/tasks/token_stream.h"

namespace headscope::experiments {

/// The training stream is cut into windows side by side: window w has tokens w T .. w T + T - 1 as inputs and those one
/// later as targets, all scored. There are (n - 1) / T; the rest at the end trains nothing. They are gone through again
/// and again, each time in another order: window number i of the run, i = step batch_size + row, is that at place
/// i mod windows of Shuffle(seed, "tokens.train") in epoch i / windows. A batch may reach into the next epoch.
///
/// The evaluation stream comes in the EvaluationWindows of windows.h. Memory: the tokens, in 1, 2 or 4 bytes each. The
/// data's digest is sha256_of_stream() of the training stream, or SHA-256 of both streams' digests, one behind the
/// other, as text. Both streams have more than seq_len tokens.
std::unique_ptr<Task> make_stream_task(TokenRow train, std::optional<TokenRow> eval, std::int64_t vocab_size,
                                       std::int64_t seq_len, std::uint64_t seed);

}  // namespace headscope::experiments
