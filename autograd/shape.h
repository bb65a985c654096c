// The sizes of a tensor's axes: at most six, outermost first.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace headscope {

class Shape {
public:
    static constexpr int max_rank = 6;

    /// Rank 0: a scalar, one element.
    Shape() = default;
    /// Throws Error when there are more than six sizes, or a negative one.
    Shape(std::initializer_list<std::int64_t> sizes);
    explicit Shape(std::span<const std::int64_t> sizes);

    int rank() const { return rank_; }
    /// Number of elements; 1 for a scalar.
    std::int64_t numel() const;
    /// Size of an axis; negative axes count from the end. Throws Error when there is no such axis.
    std::int64_t size(int axis) const;
    /// The axis as a number in [0, rank). Throws Error naming `op` when there is none.
    int axis(int axis, const char* op) const;
    /// Unchecked size, axis in [0, rank).
    std::int64_t operator[](int axis) const { return sizes_[static_cast<std::size_t>(axis)]; }
    std::int64_t& operator[](int axis) { return sizes_[static_cast<std::size_t>(axis)]; }

    const std::int64_t* begin() const { return sizes_.data(); }
    const std::int64_t* end() const { return sizes_.data() + rank_; }

    bool operator==(const Shape& other) const;

    /// "[2, 10, 512]".
    std::string str() const;

private:
    std::array<std::int64_t, max_rank> sizes_{};
    int rank_ = 0;
};

/// The shape that both broadcast to, by NumPy's rule: axes are matched from the end, 1 stretches.
/// Throws Error naming `op` and both shapes when they do not fit.
Shape broadcast_shapes(const Shape& a, const Shape& b, const char* op);

/// Can `from` be stretched to `to`?
bool broadcasts_to(const Shape& from, const Shape& to);

}  // namespace headscope
