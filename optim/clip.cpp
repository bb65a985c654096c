#include "optim/clip.h"

#include <cmath>

#include "autograd/parallel.h"
#include "optim/pieces.h"

namespace headscope::optim {
namespace {

std::vector<Tensor> gradients_of(const std::vector<NamedTensor>& parameters) {
    std::vector<Tensor> gradients;
    for (const NamedTensor& parameter : parameters) {
        if (parameter.tensor.grad().defined()) gradients.push_back(parameter.tensor.grad());
    }
    return gradients;
}

/// Sum of squares in f64, in a fixed number of lanes, so that it is fast and
/// always of the same bits.
template <class T>
double sum_of_squares(const T* x, std::int64_t n) {
    constexpr std::int64_t lanes = 8;
    double total[lanes] = {};
    std::int64_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        for (std::int64_t l = 0; l < lanes; ++l)
            total[l] += static_cast<double>(x[i + l]) * static_cast<double>(x[i + l]);
    }
    for (std::int64_t l = 0; i + l < n; ++l) total[l] += static_cast<double>(x[i + l]) * static_cast<double>(x[i + l]);
    return ((total[0] + total[4]) + (total[2] + total[6])) + ((total[1] + total[5]) + (total[3] + total[7]));
}

}  // namespace

std::vector<double> norms(const std::vector<Tensor>& tensors) {
    const std::vector<Piece> pieces = cut_into_pieces(tensors);
    std::vector<double> sums(pieces.size());
    parallel_chunks(static_cast<std::int64_t>(pieces.size()), [&](std::int64_t index) {
        const Piece& piece = pieces[static_cast<std::size_t>(index)];
        const Tensor& tensor = tensors[piece.tensor];
        dispatch_float(tensor.dtype(), "norms", [&](auto zero) {
            const auto* values = tensor.data<decltype(zero)>();
            sums[static_cast<std::size_t>(index)] = sum_of_squares(values + piece.begin, piece.end - piece.begin);
        });
    });
    std::vector<double> result(tensors.size());
    for (std::size_t i = 0; i < pieces.size(); ++i) result[pieces[i].tensor] += sums[i];
    for (double& norm : result) norm = std::sqrt(norm);
    return result;
}

double global_grad_norm(const std::vector<NamedTensor>& parameters) {
    double total = 0;
    for (const double norm : norms(gradients_of(parameters))) total += norm * norm;
    return std::sqrt(total);
}

void clip_gradients(const std::vector<NamedTensor>& parameters, double norm, double max_norm) {
    const double factor = max_norm / (norm + 1e-6);
    if (factor >= 1) return;
    std::vector<Tensor> gradients = gradients_of(parameters);
    const std::vector<Piece> pieces = cut_into_pieces(gradients);
    parallel_chunks(static_cast<std::int64_t>(pieces.size()), [&](std::int64_t index) {
        const Piece& piece = pieces[static_cast<std::size_t>(index)];
        Tensor& gradient = gradients[piece.tensor];
        dispatch_float(gradient.dtype(), "clip_gradients", [&](auto zero) {
            using T = decltype(zero);
            T* values = gradient.data<T>();
            for (std::int64_t i = piece.begin; i < piece.end; ++i) values[i] *= static_cast<T>(factor);
        });
    });
}

}  // namespace headscope::optim
