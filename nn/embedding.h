#pragma once

#include "nn/module.h"
#include "nn/outline.h"

namespace headscope::nn {

/// Rows of a table by index. Parameter `weight` [count, width].
class Embedding : public Module {
public:
    Embedding(std::int64_t count, std::int64_t width);
    /// tokens i64 [...] -> [..., width]. Throws Error when a token is outside [0, count).
    Tensor forward(const Tensor& tokens) const;
    /// The same in sizes.
    Sizes outline(const Sizes& tokens) const;
    void initialize_own(const Initializer& init) override;

    Tensor weight;
};

}  // namespace headscope::nn
