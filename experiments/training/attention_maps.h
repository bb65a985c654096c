// /attention of the log: where every head of every layer looks, on sequences that stay the same all through a run.
//
// A row is S * L * H * T * T numbers: 4 samples of 64 tokens in 2 layers of 4 heads take half a megabyte before
// compression. A log is held in memory as a whole, so large models are for few samples and few rows.
#pragma once

#include <cstdint>
#include <vector>

#include "experiments/config/config.h"
#include "experiments/storage/log.h"
#include "nn/transformer.h"

namespace headscope::experiments {

class AttentionMaps {
public:
    /// Declares /attention in `log`, which must outlive this. The samples are the first log.attention_samples sequences
    /// of `batches`, all of them when there are fewer; those of the log when it has some (a resumed run).
    AttentionMaps(const Experiment& experiment, const std::vector<Batch>& batches, Log& log);

    /// Adds a row: the weights after softmax, [S, L, H, T, T], in evaluation mode. The model is left as it was.
    void measure(nn::Transformer& model, std::int64_t step);

private:
    Log& log_;
    Batch samples_;
};

}  // namespace headscope::experiments
