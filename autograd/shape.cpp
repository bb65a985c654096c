#include "autograd/shape.h"

#include <algorithm>

#include "autograd/error.h"

namespace headscope {

Shape::Shape(std::initializer_list<std::int64_t> sizes)
    : Shape(std::span<const std::int64_t>(sizes.begin(), sizes.size())) {}

Shape::Shape(std::span<const std::int64_t> sizes) {
    if (sizes.size() > max_rank)
        throw Error("shape: has " + std::to_string(sizes.size()) + " axes; a tensor has at most six");
    rank_ = static_cast<int>(sizes.size());
    std::copy(sizes.begin(), sizes.end(), sizes_.begin());
    std::int64_t count = 1;
    for (const std::int64_t size : sizes) {
        if (size < 0) throw Error("shape: a size is negative; the shape is " + str());
        if (__builtin_mul_overflow(count, size, &count))
            throw Error("shape: has more elements than 64 bits count; the shape is " + str());
    }
}

std::int64_t Shape::numel() const {
    std::int64_t count = 1;
    for (const std::int64_t size : *this) count *= size;
    return count;
}

int Shape::axis(int axis, const char* op) const {
    const int positive = axis < 0 ? axis + rank_ : axis;
    if (positive < 0 || positive >= rank_)
        throw Error(std::string(op) + ": there is no axis " + std::to_string(axis) + "; the shape is " + str());
    return positive;
}

std::int64_t Shape::size(int axis) const { return (*this)[this->axis(axis, "size")]; }

bool Shape::operator==(const Shape& other) const {
    return rank_ == other.rank_ && std::equal(begin(), end(), other.begin());
}

std::string Shape::str() const {
    std::string text = "[";
    for (int i = 0; i < rank_; ++i) text += (i > 0 ? ", " : "") + std::to_string((*this)[i]);
    return text + "]";
}

Shape broadcast_shapes(const Shape& a, const Shape& b, const char* op) {
    const Shape& longer = a.rank() >= b.rank() ? a : b;
    const Shape& shorter = a.rank() >= b.rank() ? b : a;
    Shape result = longer;
    const int offset = longer.rank() - shorter.rank();
    for (int i = 0; i < shorter.rank(); ++i) {
        std::int64_t& size = result[i + offset];
        if (size == shorter[i] || shorter[i] == 1) continue;
        if (size != 1)
            throw Error(std::string(op) + ": the shapes do not broadcast; a is " + a.str() + ", b is " + b.str() +
                        "; sizes of an axis, counted from the end, must be equal or 1");
        size = shorter[i];
    }
    return result;
}

bool broadcasts_to(const Shape& from, const Shape& to) {
    const int offset = to.rank() - from.rank();
    if (offset < 0) return false;
    for (int i = 0; i < from.rank(); ++i)
        if (from[i] != 1 && from[i] != to[i + offset]) return false;
    return true;
}

}  // namespace headscope
