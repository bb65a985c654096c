// Walks a contiguous result in row-major order together with K operands that are read through strides: stride 0 repeats
// an axis (broadcasting), other strides reorder axes (permutation).
//
// Axes that lie one behind the other for every operand are merged first. So equal shapes are one run, a bias is two
// axes, and only truly mixed shapes take more.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "autograd/shape.h"

namespace headscope {

/// Elements between neighbours along each axis.
using Strides = std::array<std::int64_t, Shape::max_rank>;

/// The strides of a contiguous tensor.
inline Strides contiguous_strides(const Shape& shape) {
    Strides strides{};
    std::int64_t step = 1;
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
        strides[static_cast<std::size_t>(axis)] = step;
        step *= shape[axis];
    }
    return strides;
}

/// Strides that read a contiguous tensor of shape `from` as if it had shape `to`. `from` must broadcast to `to`.
inline Strides broadcast_strides(const Shape& from, const Shape& to) {
    const Strides own = contiguous_strides(from);
    const int missing = to.rank() - from.rank();
    Strides strides{};
    for (int axis = missing; axis < to.rank(); ++axis) {
        const int source = axis - missing;
        if (from[source] == to[axis]) strides[static_cast<std::size_t>(axis)] = own[static_cast<std::size_t>(source)];
    }
    return strides;
}

template <std::size_t K>
class StridedWalk {
public:
    /// `shape` is the result's; strides[k] are operand k's, one for each axis of the result.
    StridedWalk(const Shape& shape, const std::array<Strides, K>& strides) {
        for (std::size_t axis = static_cast<std::size_t>(shape.rank()); axis-- > 0;) {
            const std::int64_t size = shape[static_cast<int>(axis)];
            if (size == 1) continue;
            if (axes_ > 0 && continues(axis, strides)) {
                sizes_[axes_ - 1] *= size;
                continue;
            }
            sizes_[axes_] = size;
            for (std::size_t k = 0; k < K; ++k) strides_[axes_][k] = strides[k][axis];
            ++axes_;
        }
        if (axes_ == 0) {  // one element: a run of length 1
            sizes_[0] = 1;
            strides_[0].fill(1);
            axes_ = 1;
        }
    }

    /// Step of operand k between the elements of one run.
    std::int64_t step(std::size_t k) const { return strides_[0][k]; }

    /// Calls `body(position, count, offsets)` for the runs that make up elements [begin, end) of the result: `count`
    /// elements from `position` on, operand k's first one at offsets[k].
    template <class Body>
    void run(std::int64_t begin, std::int64_t end, Body&& body) const {
        std::array<std::int64_t, Shape::max_rank> index{};
        std::array<std::int64_t, K> offsets{};
        std::int64_t rest = begin;
        for (std::size_t axis = 0; axis < axes_; ++axis) {
            index[axis] = rest % sizes_[axis];
            rest /= sizes_[axis];
            move(offsets, axis, index[axis]);
        }
        while (begin < end) {
            const std::int64_t count = std::min(end - begin, sizes_[0] - index[0]);
            body(begin, count, offsets);
            begin += count;
            index[0] += count;
            move(offsets, 0, count);
            for (std::size_t axis = 0; axis + 1 < axes_ && index[axis] == sizes_[axis]; ++axis) {
                index[axis] = 0;
                move(offsets, axis, -sizes_[axis]);
                ++index[axis + 1];
                move(offsets, axis + 1, 1);
            }
        }
    }

private:
    // Does one step along `axis` equal a whole pass over the axis kept last, for every operand?
    bool continues(std::size_t axis, const std::array<Strides, K>& strides) const {
        for (std::size_t k = 0; k < K; ++k)
            if (strides[k][axis] != strides_[axes_ - 1][k] * sizes_[axes_ - 1]) return false;
        return true;
    }
    void move(std::array<std::int64_t, K>& offsets, std::size_t axis, std::int64_t count) const {
        for (std::size_t k = 0; k < K; ++k) offsets[k] += count * strides_[axis][k];
    }

    // Merged axes, innermost first.
    std::size_t axes_ = 0;
    std::array<std::int64_t, Shape::max_rank> sizes_{};
    std::array<std::array<std::int64_t, K>, Shape::max_rank> strides_{};
};

}  // namespace headscope
