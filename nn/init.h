// Initial values. Each parameter draws from the random stream "init.<its dotted name>", so that adding a parameter, or
// changing the number of layers, leaves the others' starts alone.
//
// A freshly built module is usable: every constructor ends with initialize(*this, {.scheme = InitScheme::pytorch}).
// Calling initialize() on the whole model draws everything again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/module.h"

namespace headscope::nn {

enum class InitScheme {
    xavier_uniform,   ///< U(+-sqrt(6 / (in + out)))                  Glorot and Bengio 2010
    xavier_normal,    ///< N(0, 2 / (in + out))                       Glorot and Bengio 2010
    kaiming_uniform,  ///< U(+-sqrt(6 / in)): gain sqrt 2, fan in     He et al. 2015
    normal,           ///< N(0, std^2)
    orthogonal,       ///< rows or columns orthonormal                Saxe et al. 2014
    pytorch,          ///< U(+-1 / sqrt(in)), biases too: what torch.nn.Linear does
};

struct InitOptions {
    InitScheme scheme = InitScheme::xavier_uniform;
    double std = 0.02;            ///< of InitScheme::normal
    double embedding_std = 0.02;  ///< embedding and position tables are N(0, embedding_std^2)
    /// Any of 'q', 'k', 'v', 'o': head 0's block, its bias included, is copied to all heads of that projection.
    std::vector<char> clone_heads = {};
    /// After cloning, every element of every head's q, k, v and o blocks (weights and q, k, v biases) of the
    /// projections in clone_heads gets clone_noise * N(0, 1).
    double clone_noise = 0;
};

/// Fills every parameter of `module`: the weight of each Linear by `scheme` from its own [out, in], biases 0 (under
/// `pytorch` uniform), LayerNorm and RMSNorm weight 1 and bias 0, Embedding normal; then clones heads. Parameters that
/// a module of another type registered itself keep their values. Drawn in f64 and rounded to the parameter's dtype:
/// call it after Module::to to use all digits of f64. Throws Error when clone_heads has another letter.
void initialize(Module& module, const InitOptions& options = {}, std::uint64_t seed = 0);

}  // namespace headscope::nn
