#include "optim/tensor_chunks.h"

#include <algorithm>
#include <array>

namespace headscope::optim {
namespace {

constexpr std::int64_t most_elements = 1 << 14;
constexpr std::int64_t task_elements = 1 << 15;  // about 15 us of Adam, some five times what a region costs

template <class T>
double sum_of_squares(const T* x, std::int64_t n) {
    constexpr std::size_t lanes = 32;  // four vectors of AVX-512: additions that need not wait for each other
    std::array<double, lanes> total{};
    const auto add = [&](std::int64_t i, std::size_t lane) {
        const auto value = static_cast<double>(x[i + static_cast<std::int64_t>(lane)]);
        total[lane] += value * value;
    };
    std::int64_t i = 0;
    for (; i + static_cast<std::int64_t>(lanes) <= n; i += static_cast<std::int64_t>(lanes))
        for (std::size_t lane = 0; lane < lanes; ++lane) add(i, lane);
    for (std::size_t lane = 0; i + static_cast<std::int64_t>(lane) < n; ++lane) add(i, lane);
    for (std::size_t half = lanes / 2; half > 0; half /= 2)
        for (std::size_t lane = 0; lane < half; ++lane) total[lane] += total[lane + half];
    return total[0];
}

}  // namespace

TensorChunks::TensorChunks(const std::vector<Tensor>& tensors) {
    std::int64_t in_task = 0;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        const std::int64_t size = tensors[i].defined() ? tensors[i].numel() : 0;
        for (std::int64_t begin = 0; begin < size; begin += most_elements) {
            const std::int64_t end = std::min(begin + most_elements, size);
            chunks_.push_back({i, begin, end});
            in_task += end - begin;
            if (in_task < task_elements) continue;
            task_ends_.push_back(chunks_.size());
            in_task = 0;
        }
    }
    if (in_task > 0) task_ends_.push_back(chunks_.size());
}

double sum_of_squares(const Tensor& tensor, std::int64_t begin, std::int64_t end) {
    return dispatch_float(tensor.dtype(), "sum_of_squares", [&](auto zero) {
        return sum_of_squares(tensor.data<decltype(zero)>() + begin, end - begin);
    });
}

}  // namespace headscope::optim
