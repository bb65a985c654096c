// Copies of operands of gemm that a micro-kernel can read in whole vectors. For gemm.cpp only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "autograd/kernels/gemm.h"
#include "autograd/kernels/transpose.h"

namespace headscope::kernels {

/// One panel of B: k rows of `width` (a multiple of the lanes), `used` of them from the matrix and zeros after them.
template <class T>
void pack_panel(MatrixView<T> b, std::int64_t k, std::int64_t used, std::int64_t width, T* packed) {
    if (b.row == 1) {
        transpose<T>(used, k, b.data, b.column, packed, width, width);
        return;
    }
    for (std::int64_t p = 0; p < k; ++p) {
        const T* const from = b.data + p * b.row;
        T* const to = packed + p * width;
        if (b.column == 1) {
            std::memcpy(to, from, static_cast<std::size_t>(used) * sizeof(T));
        } else {
            for (std::int64_t j = 0; j < used; ++j) to[j] = from[j * b.column];
        }
        std::fill(to + used, to + width, T{});
    }
}

/// Do lines this far apart fall on the same few sets of the first-level cache?
template <class T>
bool lines_collide(std::int64_t stride) {
    return stride * static_cast<std::int64_t>(sizeof(T)) % 2048 == 0;
}

/// Distance of the lines of `count` elements in a copy that move_apart makes.
template <class T>
std::int64_t apart(std::int64_t count) {
    const std::int64_t width = (count + 15) / 16 * 16;
    return lines_collide<T>(width) ? width + 16 : width;
}

/// Copies lines of `count` neighbours, `stride` apart, to lines apart(count) apart.
template <class T>
void move_apart(const T* source, std::int64_t stride, std::int64_t lines, std::int64_t count, T* copy) {
    for (std::int64_t i = 0; i < lines; ++i)
        std::memcpy(copy + i * apart<T>(count), source + i * stride, static_cast<std::size_t>(count) * sizeof(T));
}

}  // namespace headscope::kernels
