// An attention to test options of.
#pragma once

#include "nn/multi_head_attention.h"
#include "tests/nn/module_gradients.h"

namespace headscope::nn {

/// Attention of 7 wide, 3 heads of 4, in f64 with random weights.
struct SmallAttention {
    explicit SmallAttention(AttentionModuleOptions options, std::int64_t heads = 3)
        : attention(7, heads, with_dim(options)) {
        attention.to(DType::f64);
        randomise(attention, 1);
        x = random_tensor({2, 5, 7}, 20, DType::f64);
    }
    static AttentionModuleOptions with_dim(AttentionModuleOptions options) {
        options.head_dim = 4;
        return options;
    }
    MultiHeadAttention::Result run(const Mask& mask = Mask::causal()) { return attention.forward(x, x, x, mask); }

    MultiHeadAttention attention;
    Tensor x;
};

}  // namespace headscope::nn
