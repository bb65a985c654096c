#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "autograd/ops/activation.h"
#include "nn/module.h"
#include "nn/outline.h"

namespace headscope::nn {

using headscope::Activation;

/// The feed-forward half of a block, position by position.
class FeedForward : public Module {
public:
    /// x [..., d_model] -> the same shape; plus `residual`, of that shape, where defined.
    virtual Tensor forward(const Tensor& x, const Tensor& residual = {}) const = 0;
    /// The same in sizes, its steps named "<name>.<child>".
    virtual Sizes outline(Outline& outline, const std::string& name, const Sizes& x) const = 0;

    Point hidden;  ///< [..., d_ff], what the last Linear is given
    Point output;  ///< [..., d_model], before dropout and residual

protected:
    /// `name`: the path of the module, for messages.
    explicit FeedForward(const std::string& name);
    /// The last Linear of any feed-forward: hidden -> output, through the two points.
    Tensor project(const Tensor& hidden_value, const Tensor& weight, const Tensor& bias, const Tensor& residual) const;
};

struct FeedForwardOptions {
    std::int64_t d_model = 0, d_ff = 0;
    Activation activation = Activation::gelu;
    bool bias = true;
    std::string name = "ffn";  ///< path of the module, for messages
};

/// Makes the feed-forward halves of a model.
using FeedForwardFactory = std::function<std::unique_ptr<FeedForward>(const FeedForwardOptions& options)>;

}  // namespace headscope::nn
