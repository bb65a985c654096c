// Windows of a row of tokens: inputs, and as targets the tokens one later.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "experiments/tasks/task.h"

namespace headscope::experiments {

/// Inputs [B,T] from each start on and the targets [B,T] one token later, all scored. copy(first, count, out) writes
/// tokens as std::int64_t.
template <class Copy>
Batch cut_windows(const std::vector<std::int64_t>& starts, std::int64_t seq_len, Copy&& copy) {
    const Shape shape{std::ssize(starts), seq_len};
    Batch batch{Tensor::empty(shape, DType::i64), Tensor::empty(shape, DType::i64), {}, {}};
    auto* input = batch.inputs.data<std::int64_t>();
    auto* target = batch.targets.data<std::int64_t>();
    for (const std::int64_t start : starts) {
        copy(start, seq_len, input);
        copy(start + 1, seq_len, target);
        input += seq_len;
        target += seq_len;
    }
    return batch;
}

/// A row of tokens as whole windows side by side, for evaluation: their targets follow on without overlap, and the
/// last is within the row.
class EvaluationWindows {
public:
    EvaluationWindows() = default;
    EvaluationWindows(std::int64_t tokens, std::int64_t seq_len);

    std::int64_t count() const { return windows_; }
    /// Whole batches of so many; when there are fewer windows than that, one batch of all of them.
    std::int64_t batches(std::int64_t batch_size) const {
        return windows_ == 0 ? 0 : std::max<std::int64_t>(1, windows_ / batch_size);
    }
    /// Where the windows of a batch begin in the row: a fixed order, which spreads the first so many batches evenly.
    std::vector<std::int64_t> starts(std::int64_t batch, std::int64_t batch_size) const;

private:
    std::int64_t seq_len_ = 0;
    std::int64_t windows_ = 0;
    std::int64_t stride_ = 1;  ///< from one window to the next in that order, modulo windows_
};

}  // namespace headscope::experiments
