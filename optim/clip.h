#pragma once

#include <vector>

#include "autograd/tensor.h"
#include "nn/parameter.h"

namespace headscope::optim {

/// Euclidean norm of each tensor, summed in f64 over fixed chunks; an undefined tensor counts 0.
std::vector<double> norms(const std::vector<Tensor>& tensors);

/// min(1, max_norm / (norm + 1e-6)): what torch.nn.utils.clip_grad_norm_ multiplies every gradient by, for
/// Optimizer::step(). NaN when the norm is.
double clip_scale(double norm, double max_norm);

/// Multiplies every gradient by `scale` in place. Optimizer::step(scale) does the same update without this pass.
void scale_gradients(const std::vector<nn::Parameter>& parameters, double scale);

}  // namespace headscope::optim
