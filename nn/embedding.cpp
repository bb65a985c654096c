#include "nn/embedding.h"

#include "autograd/ops/embedding.h"
#include "nn/init.h"

namespace headscope::nn {

Embedding::Embedding(std::int64_t count, std::int64_t width) {
    if (count < 1 || width < 1)
        throw Error("Embedding: sizes must be at least 1; count is " + std::to_string(count) + ", width is " +
                    std::to_string(width));
    weight = register_parameter("weight", {count, width});
    initialize_new(*this);
}

Tensor Embedding::forward(const Tensor& tokens) const { return embedding(weight, tokens); }

}  // namespace headscope::nn
