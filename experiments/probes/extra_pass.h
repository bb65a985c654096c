// Forward and backward passes that a probe makes for itself, beside the step's own.
#pragma once

#include <functional>
#include <vector>

#include "experiments/probes/probe.h"

namespace headscope::experiments {

/// Runs body, in which gradients of the model's parameters (and of its guests' leaves, nn/point.h) may be made and
/// dropped at will (there are none at its start) and its mode changed; afterwards all is as before, also when body
/// throws. The time it takes is not marked op by op (profile.h): it belongs to whoever marks next.
void with_own_gradients(nn::Transformer& model, const std::function<void()>& body);

/// Gradients, in the order of model.parameters(), of `weight` times the mean cross-entropy over the scored `targets`,
/// in training mode under the dropout of micro-batch `part` of the step: the same passes as the step's own, so that
/// with the inputs, targets and weight of split_batch() they are bit for bit what the step adds up. A parameter that
/// the loss does not depend on has zeros.
std::vector<Tensor> gradients_of(const ProbeContext& context, const Tensor& inputs, const Tensor& targets,
                                 double weight, std::int64_t part);

}  // namespace headscope::experiments
