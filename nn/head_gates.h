#pragma once

#include "nn/module.h"

namespace headscope::nn {

/// A factor per head. At 1, where they start, dL/d(gate) of a head says how the loss would change if the head spoke a
/// little louder (Michel et al. 2019), and equals <W_o block, dL/d(W_o block)>. At 0 the head is silent.
/// Parameter `weight` [H]. Hand it to MultiHeadAttention::use_gates.
class HeadGates : public Module {
public:
    /// Throws Error when num_heads is below 1.
    explicit HeadGates(std::int64_t num_heads);
    /// heads side by side [..., H*d] -> the same shape, head h times weight[h]
    Tensor forward(const Tensor& heads) const;

    std::int64_t num_heads() const { return weight.size(0); }

    Tensor weight;
};

}  // namespace headscope::nn
