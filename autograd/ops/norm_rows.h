// What layer_norm and rms_norm share: how rows are cut into chunks, and the frame of the backward pass.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "autograd/parallel.h"
#include "autograd/tensor.h"

namespace headscope {

/// Most rows of one block, see norm_blocks().
inline constexpr std::int64_t norm_block = 8;

/// Rows of one chunk. At most 64 chunks, because each costs the backward a row of partial sums.
inline std::int64_t norm_grain(std::int64_t rows, std::int64_t size) {
    return std::max({std::int64_t{1}, (1 << 13) / size, (rows + 63) / 64});
}

/// Calls `body(first, last)` for [begin, end) cut into blocks of few rows. The steps of a row (sums, their roots, the
/// values) wait for each other; taken one after the other for all rows of a block, several rows are under way at once.
/// Long rows need that less, and a block should stay in the first cache.
template <class Body>
void norm_blocks(std::int64_t begin, std::int64_t end, std::int64_t size, Body body) {
    const std::int64_t rows = std::clamp<std::int64_t>(1024 / size, 1, norm_block);
    for (; begin < end; begin += rows) body(begin, std::min(begin + rows, end));
}

/// The gradients of the K parameters [d] of an op on the rows of x [..., d]. `row(index, parts)` handles one row and
/// adds its part of them to parts [K, d]. Chunks add up on their own, and their sums are added in order.
template <class T, std::size_t K, class Block>
std::array<Tensor, K> norm_backward(const Tensor& x, Block block) {
    const std::int64_t size = x.size(-1);
    const std::int64_t rows = x.numel() / size;
    const std::int64_t grain = norm_grain(rows, size);
    const std::int64_t chunks = (rows + grain - 1) / grain;
    const auto parameters = static_cast<std::int64_t>(K);
    Tensor partial = Tensor::zeros({chunks, parameters, size}, x.dtype());
    T* const sums = partial.data<T>();
    parallel_for(rows, grain, [&](std::int64_t begin, std::int64_t end) {
        T* const own = sums + begin / grain * parameters * size;
        norm_blocks(begin, end, size, [&](std::int64_t first, std::int64_t last) { block(first, last, own); });
    });

    std::array<Tensor, K> gradients;
    for (std::size_t k = 0; k < K; ++k) {
        Tensor gradient = Tensor::zeros({size}, x.dtype());
        T* const total = gradient.data<T>();
        for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
            const T* const part = sums + (chunk * parameters + static_cast<std::int64_t>(k)) * size;
            for (std::int64_t i = 0; i < size; ++i) total[i] += part[i];
        }
        gradients[k] = std::move(gradient);
    }
    return gradients;
}

}  // namespace headscope
