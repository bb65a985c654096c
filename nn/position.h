// Positions of one's own: how to tell a model where its tokens stand by adding something to what is embedded.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "nn/module.h"

namespace headscope::nn {

/// Derive from it and set TransformerOptions::position and custom_position. Its parameters are "position.<name>" in the
/// model; those it registers itself keep the values that its constructor gives them (nn/init.h).
class PositionScheme : public Module {
public:
    /// embedded [B, T, d] -> the same shape and dtype. Throws Error when T is more than it can tell apart.
    virtual Tensor add_to(const Tensor& embedded) = 0;
};

struct CustomPosition {
    /// For inputs of up to max_len tokens, embedded in d_model numbers each.
    std::function<std::unique_ptr<PositionScheme>(std::int64_t max_len, std::int64_t d_model)> build = {};
    std::int64_t parameters = 0;  ///< trainable values it has, known before it is built
};

}  // namespace headscope::nn
