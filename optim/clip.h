#pragma once

#include <vector>

#include "autograd/tensor.h"

namespace headscope::optim {

/// Euclidean norm of each tensor, summed in f64 in fixed chunks; an undefined tensor counts 0.
std::vector<double> norms(const std::vector<Tensor>& tensors);

/// sqrt of the sum of squares of all gradients, summed in f64 in fixed chunks; parameters without one count 0.
double global_grad_norm(const std::vector<NamedTensor>& parameters);

/// Multiplies every gradient by min(1, max_norm / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_.
/// `norm` is global_grad_norm(parameters).
void clip_gradients(const std::vector<NamedTensor>& parameters, double norm, double max_norm);

}  // namespace headscope::optim
