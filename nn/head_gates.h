#pragma once

#include "nn/module.h"

namespace headscope::nn {

class MultiHeadAttention;

/// A factor per head. At 1, where they start, dL/d(gate) of a head says how the loss would change if the head's output
/// grew a little (Michel et al. 2019), and equals <W_o block, dL/d(W_o block)>. At 0 the head contributes nothing.
/// Parameter `weight` [H].
class HeadGates : public Module {
public:
    /// Throws Error when num_heads is below 1.
    explicit HeadGates(std::int64_t num_heads);
    /// heads side by side [..., H*d] -> the same shape, head h times weight[h]
    Tensor forward(const Tensor& heads) const;

    /// From now on every head's output of `attention` is multiplied by its gate before W_o, until the guest leaves. The
    /// gates are no parameters of the attention, so names and checkpoints stay as they are; they must outlive the
    /// guest. Throws Error when there is not a gate for each head.
    Guest attach(MultiHeadAttention& attention);

    std::int64_t num_heads() const { return weight.size(0); }

    Tensor weight;
};

}  // namespace headscope::nn
