#include "nn/embedding.h"

#include "autograd/ops/embedding.h"
#include "nn/init.h"

namespace headscope::nn {

Embedding::Embedding(std::int64_t count, std::int64_t width) {
    if (count < 1 || width < 1)
        throw Error("Embedding: sizes must be at least 1; count is " + std::to_string(count) + ", width is " +
                    std::to_string(width));
    weight = register_parameter("weight", {count, width}, ParameterRole::embedding);
    initialize_new(*this);
}

Tensor Embedding::forward(const Tensor& tokens) const { return embedding(weight, tokens); }

Sizes Embedding::outline(const Sizes& tokens) const {
    Sizes rows = tokens;
    rows.push_back(weight.size(1));
    return rows;
}

void Embedding::initialize_own(const Initializer& init) {
    init.draw_normal(weight, "weight", init.options().embedding_std);
}

}  // namespace headscope::nn
