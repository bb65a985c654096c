#include "experiments/probes/sequences.h"

#include <algorithm>

#include "experiments/tasks/sampling.h"

namespace headscope::experiments {

namespace {

constexpr std::int64_t sequences = 16;

/// Sequence i repeats a random block of periods[i] tokens.
Batch periodic_batch(const ProbeContext& context, const std::vector<std::int64_t>& periods, const char* stream) {
    const std::int64_t T = context.task.seq_len(), V = context.model.options().vocab_size;
    const RandomStream random(static_cast<std::uint64_t>(context.seed), stream);
    Batch batch{Tensor::empty({sequences, T}, DType::i64), Tensor::full({sequences, T}, -1, DType::i64), {}, {}};
    for (std::int64_t i = 0; i < sequences; ++i) {
        const std::int64_t period = periods[static_cast<std::size_t>(i)];
        const SequenceRandom own(random, i * T);
        std::vector<std::int64_t> block;
        if (period <= V) block = draw_distinct(period, V, own, 0);
        else
            for (std::int64_t t = 0; t < period; ++t) block.push_back(own.below(V, t));
        std::int64_t* const inputs = batch.inputs.data<std::int64_t>() + i * T;
        std::int64_t* const targets = batch.targets.data<std::int64_t>() + i * T;
        for (std::int64_t t = 0; t < T; ++t) inputs[t] = block[static_cast<std::size_t>(t % period)];
        for (std::int64_t t = period; t + 1 < T; ++t) targets[t] = inputs[t + 1];
    }
    return batch;
}

}  // namespace

std::int64_t repeated_length(std::int64_t seq_len) { return std::max<std::int64_t>(1, seq_len / 2); }

Batch repeated_batch(const ProbeContext& context) {
    const std::vector<std::int64_t> periods(sequences, repeated_length(context.task.seq_len()));
    return periodic_batch(context, periods, "probe.repeated");
}

std::vector<std::int64_t> random_periods(const ProbeContext& context) {
    const std::int64_t longest = repeated_length(context.task.seq_len()), shortest = std::min<std::int64_t>(2, longest);
    const RandomStream random(static_cast<std::uint64_t>(context.seed), "probe.random_periods.length");
    std::vector<std::int64_t> periods;
    for (std::uint64_t i = 0; i < sequences; ++i)
        periods.push_back(
            shortest + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(longest - shortest + 1), i)));
    return periods;
}

Batch random_periods_batch(const ProbeContext& context) {
    return periodic_batch(context, random_periods(context), "probe.random_periods");
}

std::vector<Batch> batches_of(SequenceSource source, const ProbeContext& context) {
    switch (source) {
        case SequenceSource::evaluation: return context.eval_batches;
        case SequenceSource::repeated: return {repeated_batch(context)};
        case SequenceSource::random_periods: return {random_periods_batch(context)};
    }
    throw Error("batches_of: no such source");
}

}  // namespace headscope::experiments
