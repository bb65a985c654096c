#pragma once

#include <string>

#include "autograd/tensor.h"

namespace headscope::nn {

/// What a parameter is in its model; told at registration, so that nobody has to read it off a name or a shape.
/// Optimizers treat roles differently: Muon works on matrices alone, `optimizer.groups` scales rates by role.
enum class ParameterRole {
    matrix,     ///< the weight of a Linear inside the model
    bias,       ///< any bias
    scale,      ///< the weight of a norm, a gate: what values are multiplied by
    embedding,  ///< a table of tokens or positions
    head        ///< the weight of the output layer (not of an attention head)
};
inline constexpr ParameterRole parameter_roles[] = {ParameterRole::matrix, ParameterRole::bias, ParameterRole::scale,
                                                    ParameterRole::embedding, ParameterRole::head};
/// "matrix", "bias", "scale", "embedding" or "head".
const char* name_of(ParameterRole role);

/// A trainable tensor of a module, with its dotted path: "blocks.0.attn.W_q.weight".
struct Parameter {
    std::string name;
    Tensor tensor;
    ParameterRole role = ParameterRole::matrix;
};

}  // namespace headscope::nn
