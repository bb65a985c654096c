// What property tests draw, and how their plain loops find the elements of a tensor. For files that use RapidCheck.
#pragma once

#include <rapidcheck.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "autograd/tensor.h"

namespace headscope::properties {

using Index = std::vector<std::int64_t>;

/// A number in [low, high), each as likely from the first case on. (RapidCheck would begin with small ones.)
template <class T>
rc::Gen<T> in_range(T low, T high) {
    return rc::gen::resize(rc::kNominalSize, rc::gen::inRange(low, high));
}

inline Index draw_sizes(int most_axes) {
    const auto rank = static_cast<std::size_t>(*in_range(0, most_axes + 1));
    return *rc::gen::container<Index>(rank, in_range<std::int64_t>(1, 5));
}

inline Tensor draw_values(const Index& sizes) {
    const Shape shape{std::span<const std::int64_t>(sizes)};
    // Quarters from -8 to 8: exact in f64, so that sums and products can be compared with ==.
    const auto quarters =
        *rc::gen::container<std::vector<int>>(static_cast<std::size_t>(shape.numel()), in_range(-32, 33));
    Tensor result = Tensor::empty(shape, DType::f64);
    for (std::size_t i = 0; i < quarters.size(); ++i) result.data<double>()[i] = quarters[i] / 4.0;
    return result;
}

inline Tensor draw_mask(const Index& sizes) {
    const Shape shape{std::span<const std::int64_t>(sizes)};
    const auto bits =
        *rc::gen::container<std::vector<bool>>(static_cast<std::size_t>(shape.numel()), rc::gen::arbitrary<bool>());
    Tensor result = Tensor::empty(shape, DType::boolean);
    for (std::size_t i = 0; i < bits.size(); ++i) result.data<std::uint8_t>()[i] = bits[i];
    return result;
}

/// Sizes that broadcast to `sizes`: some are 1, and some of the first are left out.
inline Index draw_stretched(Index sizes) {
    for (std::int64_t& size : sizes)
        if (*in_range(0, 3) == 0) size = 1;
    const auto skipped = *in_range<std::size_t>(0, sizes.size() + 1);
    sizes.erase(sizes.begin(), sizes.begin() + static_cast<std::ptrdiff_t>(skipped));
    return sizes;
}

inline Index sizes_of(const Tensor& x) { return {x.shape().begin(), x.shape().end()}; }

/// The index of element `flat` of a tensor with these sizes.
inline Index index_of(std::int64_t flat, const Index& sizes) {
    Index index(sizes.size());
    for (std::size_t axis = sizes.size(); axis-- > 0;) {
        index[axis] = flat % sizes[axis];
        flat /= sizes[axis];
    }
    return index;
}

/// The element of x that stands for element `index` of a tensor that x is stretched to: the axes are matched from the
/// end, and along an axis of size 1 there is only element 0.
inline std::int64_t source_of(const Index& index, const Tensor& x) {
    const Index sizes = sizes_of(x);
    std::int64_t flat = 0;
    for (std::size_t axis = 0; axis < sizes.size(); ++axis) {
        const std::int64_t i = index[index.size() - sizes.size() + axis];
        flat = flat * sizes[axis] + (sizes[axis] == 1 ? 0 : i);
    }
    return flat;
}

inline double element(const Tensor& x, std::int64_t flat) {
    return x.dtype() == DType::boolean ? x.data<std::uint8_t>()[flat] : x.data<double>()[flat];
}

inline void check_equal(const Tensor& x, const std::vector<double>& expected, double tolerance = 0) {
    RC_ASSERT(x.numel() == static_cast<std::int64_t>(expected.size()));
    for (std::size_t i = 0; i < expected.size(); ++i) {
        const double value = x.data<double>()[i];
        RC_ASSERT(value == expected[i] || std::fabs(value - expected[i]) <= tolerance);
    }
}

inline std::vector<double> zeros_like(const Tensor& x) {
    return std::vector<double>(static_cast<std::size_t>(x.numel()));
}

}  // namespace headscope::properties
