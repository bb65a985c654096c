// Tokens run through the weights of a step of a run: every value on the way and every gradient, in one HDF5 file.
//
//   /inputs, /targets           [batches, B, T]: the tokens, as --tokens takes them
//   /loss                       scalar: mean cross-entropy over all scored targets; 0, like its gradients, without any
//   /logits                     [batches, B, T, V]
//   /layers/<l>/{q,k,v,head_out}           [batches, B, H, T, d]: q and k after rotation, head_out before W_o
//   /layers/<l>/weights         [batches, B, H, T, T]: after softmax
//   /points/<name>              [batches, ...]: the value at every point of the model, as nn/transformer.h names them
//   /point_gradients/blocks.<l>.attn.weights   [batches, B, H, T, T]: gradient of /loss by the weights, as if they were
//                               free; keys out of sight included
//   /gradients/<parameter>      gradient of /loss
// The pass is in evaluation mode.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "experiments/analysis/trace_tokens.h"
#include "experiments/training/past_run.h"

namespace headscope::experiments {

struct TraceResult {
    double loss;          ///< nat per scored target; 0 without any
    std::int64_t scored;  ///< targets
    std::int64_t step;    ///< updates of the weights
};

/// Runs the tokens of `source` through the weights after `step` updates, without one those of the newest checkpoint
/// that is whole, and writes `out`. The run's data are needed only for a step without a checkpoint, a text and
/// evaluation batches; `overrides` may say where they are, and are then held against the run's. Throws UsageError when
/// there is no such run or step, `out` exists, or the values take more than the memory available; IoError for what
/// cannot be read or written; what open_past_run(), state_at() and the functions of trace_tokens.h throw.
TraceResult trace_run(const std::string& run, const std::vector<std::string>& overrides,
                      std::optional<std::int64_t> step, const TraceSource& source, const std::string& out,
                      const RunHooks& hooks);

}  // namespace headscope::experiments
