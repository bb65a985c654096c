// Token sequences made to show what a head does. They depend on the run's seed, the model's vocabulary and the task's
// sequence length alone.
#pragma once

#include "experiments/probes/probe.h"

namespace headscope::experiments {

/// A batch of 16 sequences: L = max(1, floor(T / 2)) random tokens (distinct within a sequence where the vocabulary
/// allows), then the same again (T = the task's sequence length; an odd last position repeats on). Targets: the next
/// token from position L on to T - 2, where the text before determines it (at L - 1 nothing says yet that the sequence
/// starts again); -1 elsewhere.
Batch repeated_batch(const ProbeContext& context);
/// L of repeated_batch.
std::int64_t repeated_length(std::int64_t seq_len);

/// The same with a period of its own for each sequence, uniform in [2, L] (1 where L is 1): the block repeats to the
/// end. Targets from the sequence's period on.
Batch random_periods_batch(const ProbeContext& context);
/// The periods of the sequences of random_periods_batch.
std::vector<std::int64_t> random_periods(const ProbeContext& context);

/// All batches of a source.
std::vector<Batch> batches_of(SequenceSource source, const ProbeContext& context);

}  // namespace headscope::experiments
