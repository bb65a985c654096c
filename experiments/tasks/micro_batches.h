// A batch in parts that go through the model one after the other (train.accumulate), so that a batch fits memory that
// it would not fit at once.
//
// The gradient of the mean loss over all scored targets is the sum of the parts' gradients, each weighted by the part's
// share of the scored targets; training/gradient_tree.h adds them. Mathematically that is the gradient of the whole
// batch at once. In bits it is not: the products that make a weight's gradient add up the tokens in another order, and
// under dropout every part draws numbers of its own. For a given number of parts the bits are the same for any number
// of threads and across resume.
#pragma once

#include <vector>

#include "experiments/tasks/task.h"

namespace headscope::experiments {

struct MicroBatch {
    Tensor inputs;   ///< i64 [B / parts, T]
    Tensor targets;  ///< i64 [B / parts, T]
    double weight;   ///< share of the batch's scored targets; 1 / parts when none is scored
};

/// The rows of the batch in `parts` equal parts, in order. Throws Error when `parts` does not divide their number.
std::vector<MicroBatch> split_batch(const Batch& batch, std::int64_t parts);

}  // namespace headscope::experiments
