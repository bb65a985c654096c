// The loss of a classifier that gives logits.
#pragma once

#include "autograd/tensor.h"

namespace headscope {

/// Mean over scored targets of logsumexp(logits) - logits[target], in nats; a scalar of the logits' dtype.
/// logits [..., V], f32 or f64; targets i64 [...], -1 = not scored. No scored target gives loss 0 and zero gradient.
/// Throws Error when a target is outside [-1, V), naming the place.
Tensor cross_entropy(const Tensor& logits, const Tensor& targets);

/// The same per element, [...], as f64, without a graph; 0 where the target is -1.
Tensor cross_entropy_each(const Tensor& logits, const Tensor& targets);

}  // namespace headscope
