// The shape of a tensor after a reduction over some of its axes.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "autograd/error.h"
#include "autograd/shape.h"

namespace headscope {

struct ReducedShapes {
    Shape kept;                                 // reduced axes stay as 1
    Shape dropped;                              // reduced axes are gone
    std::int64_t terms = 1;                     // elements in each sum
    std::array<bool, Shape::max_rank> which{};  // of the axes are reduced
};

/// `axes` as in reduction.h. Throws Error naming `name` when an axis does not exist or is given twice.
inline ReducedShapes reduced_shapes(const char* name, const Shape& shape, const std::vector<int>& axes) {
    ReducedShapes result{shape, {}, 1, {}};
    if (axes.empty()) result.which.fill(true);
    for (const int given : axes) {
        bool& seen = result.which[static_cast<std::size_t>(shape.axis(given, name))];
        if (seen)
            throw Error(std::string(name) + ": axis " + std::to_string(given) + " is given twice; x is " + shape.str());
        seen = true;
    }
    std::vector<std::int64_t> left;
    for (int axis = 0; axis < shape.rank(); ++axis) {
        if (!result.which[static_cast<std::size_t>(axis)]) {
            left.push_back(shape[axis]);
            continue;
        }
        result.terms *= shape[axis];
        result.kept[axis] = 1;
    }
    result.dropped = Shape(left);
    return result;
}

}  // namespace headscope
