// Initial values. Each parameter draws from the random stream "init.<its dotted name>", so that adding a parameter, or
// changing the number of layers, leaves the others' starts alone.
//
// How a module's own parameters start is stated by the module itself, in initialize_own(). A freshly built module is
// usable: every constructor ends with initialize_new(*this). A module with children makes them while a DeferInit lives,
// so that each parameter is drawn once, by the outermost. Calling initialize() on the whole model draws everything
// again; whoever means to do that can make the model under a DeferInit too.
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

/// Fills every parameter of `module`, each module's own by initialize_own(): the weight of each Linear by `scheme` from
/// its own [out, in], biases 0 (under `pytorch` uniform), LayerNorm and RMSNorm weight 1 and bias 0, Embedding normal;
/// then clones heads. A module that does not override initialize_own() keeps its values. Drawn in f64 and rounded to
/// the parameter's dtype: call it after Module::to to use all digits of f64. Throws Error when clone_heads has another
/// letter.
void initialize(Module& module, const InitOptions& options = {}, std::uint64_t seed = 0);

/// What initialize_own() draws with: the options, and the streams of the module at `path`.
class Initializer {
public:
    Initializer(const InitOptions& options, std::uint64_t seed, std::string path)
        : options_(options), seed_(seed), path_(std::move(path)) {}

    const InitOptions& options() const { return options_; }
    /// By options().scheme, for a weight [out, in] registered as `name`.
    void draw_matrix(const Tensor& weight, const std::string& name) const;
    /// 0; uniform in +-1 / sqrt(fan_in) under InitScheme::pytorch.
    void draw_bias(const Tensor& bias, const std::string& name, std::int64_t fan_in) const;
    /// N(0, std^2).
    void draw_normal(const Tensor& values, const std::string& name, double std) const;
    /// Adds options().clone_noise * N(0, 1), from the stream "clone_noise.<path>.<name>".
    void add_clone_noise(const Tensor& values, const std::string& name) const;

private:
    std::string stream(const char* purpose, const std::string& name) const;

    const InitOptions& options_;
    std::uint64_t seed_;
    std::string path_;
};

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

/// While one lives, new modules of this thread have parameters without storage: of any size, to be asked about shapes
/// and nothing else. Implies DeferInit.
class WithoutStorage {
public:
    WithoutStorage() : before_(on_) { on_ = true; }
    ~WithoutStorage() { on_ = before_; }
    WithoutStorage(const WithoutStorage&) = delete;
    WithoutStorage& operator=(const WithoutStorage&) = delete;
    static bool is_on() { return on_; }

private:
    static inline thread_local bool on_ = false;
    bool before_;
    DeferInit defer_;
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
