// Initial values. Each parameter draws from the random stream "init.<its dotted name>", so that adding a parameter, or
// changing the number of layers, leaves the others' starts alone.
//
// A freshly built module is usable: every constructor ends with initialize_new(*this). A module with children makes
// them while a DeferInit lives, so that each parameter is drawn once, by the outermost. Calling initialize() on the
// whole model draws everything again; whoever means to do that can make the model under a DeferInit too.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
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

/// While one lives, new modules of this thread leave their parameters zero: whoever made them calls initialize().
class DeferInit {
public:
    DeferInit() : before_(deferred_) { deferred_ = true; }
    ~DeferInit() { deferred_ = before_; }
    DeferInit(const DeferInit&) = delete;
    DeferInit& operator=(const DeferInit&) = delete;
    static bool is_deferred() { return deferred_; }

private:
    static inline thread_local bool deferred_ = false;
    bool before_;
};

/// A child for a constructor's list of members, made under a DeferInit: `W_q(deferred<Linear>(d_model, d_model))`.
template <class Child, class... Arguments>
Child deferred(Arguments&&... arguments) {
    const DeferInit defer;
    return Child(std::forward<Arguments>(arguments)...);
}

/// The end of a module's constructor: initialize() with InitScheme::pytorch, unless a DeferInit lives.
void initialize_new(Module& module);

}  // namespace headscope::nn
