#include "optim/clip.h"

#include <cmath>

#include "optim/tensor_chunks.h"

namespace headscope::optim {

std::vector<double> norms(const std::vector<Tensor>& tensors) {
    const TensorChunks pieces(tensors);
    std::vector<double> sums(pieces.size());
    pieces.for_each(
        [&](std::size_t i) { sums[i] = sum_of_squares(tensors[pieces[i].tensor], pieces[i].begin, pieces[i].end); });
    std::vector<double> result(tensors.size());
    for (std::size_t i = 0; i < pieces.size(); ++i) result[pieces[i].tensor] += sums[i];
    for (double& norm : result) norm = std::sqrt(norm);
    return result;
}

double clip_scale(double norm, double max_norm) {
    const double factor = max_norm / (norm + 1e-6);
    return factor >= 1 ? 1 : factor;
}

void scale_gradients(const std::vector<nn::Parameter>& parameters, double scale) {
    std::vector<Tensor> gradients;
    for (const nn::Parameter& parameter : parameters) gradients.push_back(parameter.tensor.grad());
    const TensorChunks pieces(gradients);
    pieces.for_each([&](std::size_t i) {
        const TensorChunk& chunk = pieces[i];
        dispatch_float(gradients[chunk.tensor].dtype(), "scale_gradients", [&](auto zero) {
            using T = decltype(zero);
            T* values = gradients[chunk.tensor].data<T>();
            for (std::int64_t k = chunk.begin; k < chunk.end; ++k) values[k] *= static_cast<T>(scale);
        });
    });
}

}  // namespace headscope::optim
