#include "nn/head_gates.h"

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/shaping.h"
#include "nn/multi_head_attention.h"

namespace headscope::nn {

HeadGates::HeadGates(std::int64_t num_heads) {
    if (num_heads < 1) throw Error("HeadGates: num_heads must be at least 1, not " + std::to_string(num_heads));
    weight = register_parameter("weight", {num_heads}, ParameterRole::scale);
    weight.fill_(1);
}

Tensor HeadGates::forward(const Tensor& heads) const {
    const std::int64_t width = heads.rank() > 0 ? heads.size(-1) : 0;
    if (width == 0 || width % num_heads() != 0)
        throw Error("HeadGates: the number of gates must divide the last axis; heads is " + heads.shape().str() +
                    ", weight is " + weight.shape().str());
    const Tensor split = reshape(heads, {heads.numel() / width, num_heads(), width / num_heads()});
    const Tensor gated = mul(split, reshape(weight, {num_heads(), 1}));  // [rows, H, d] * [H, 1]
    return reshape(gated, {heads.shape().begin(), heads.shape().end()});
}

Guest HeadGates::attach(MultiHeadAttention& attention) {
    if (num_heads() != attention.num_heads())
        throw Error("HeadGates: there must be a gate per head; num_heads is " + std::to_string(attention.num_heads()) +
                    ", the gates are " + weight.shape().str());
    return attention.heads.edit([this](const Tensor& heads) { return forward(heads); }, {.leaves = {weight}});
}

}  // namespace headscope::nn
