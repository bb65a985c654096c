#include "autograd/ops/reduction.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "autograd/graph.h"
#include "autograd/kernels/axes.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/shaping.h"
#include "autograd/parallel.h"
#include "autograd/tensor_impl.h"

namespace headscope {
namespace {

// Every sum is taken in f64 and rounded once. It costs little, because sums wait for memory, and makes the size of the
// blocks below a matter of speed alone.
//
// A block is a piece of the summed axis, and for what is summed over rows also a piece of the columns. Borders depend
// on the shape alone. Several blocks of one sum leave partial sums, which are added in index order.
constexpr std::int64_t block_length = 16384;  // elements, when neighbours are added
constexpr std::int64_t block_rows = 256;
constexpr std::int64_t block_columns = 512;
constexpr std::int64_t grain = 16384;  // elements worth a thread

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Sum of `count` neighbours: sixteen lanes, then the lanes.
template <class T>
double sum_neighbours(const T* x, std::int64_t count) {
    constexpr std::size_t lanes = 16;
    std::array<double, lanes> sums{};
    std::int64_t i = 0;
    for (; i + static_cast<std::int64_t>(lanes) <= count; i += static_cast<std::int64_t>(lanes))
        for (std::size_t lane = 0; lane < lanes; ++lane)
            sums[lane] += static_cast<double>(x[i + static_cast<std::int64_t>(lane)]);
    for (std::size_t lane = 0; i < count; ++i, ++lane) sums[lane] += static_cast<double>(x[i]);
    for (std::size_t width = lanes / 2; width > 0; width /= 2)
        for (std::size_t lane = 0; lane < width; ++lane) sums[lane] += sums[lane + width];
    return sums[0];
}

// sums[j] = sum over rows of x[row * stride + j], at most block_columns columns.
template <class T>
void sum_rows(const T* x, std::int64_t rows, std::int64_t stride, std::int64_t columns, double* sums) {
    std::fill(sums, sums + columns, 0.0);
    for (std::int64_t row = 0; row < rows; ++row) {
        const T* const values = x + row * stride;
        for (std::int64_t j = 0; j < columns; ++j) sums[j] += static_cast<double>(values[j]);
    }
}

// x [outer, length, inner] -> y [outer, inner] = sum over the middle axis / divisor.
template <class From, class To>
void sum_middle(const From* x, std::int64_t outer, std::int64_t length, std::int64_t inner, double divisor, To* y) {
    const std::int64_t rows = inner == 1 ? block_length : block_rows;
    const std::int64_t row_blocks = std::max<std::int64_t>(1, ceil_div(length, rows));
    const std::int64_t column_blocks = ceil_div(inner, block_columns);
    const std::int64_t block_size = std::max<std::int64_t>(1, std::min(length, rows) * std::min(inner, block_columns));

    Tensor partial;  // [outer, row_blocks, inner]
    if (row_blocks > 1) partial = Tensor::empty({outer, row_blocks, inner}, DType::f64);
    double* const partials = row_blocks > 1 ? partial.data<double>() : nullptr;

    const std::int64_t blocks = outer * row_blocks * column_blocks;
    parallel_for(blocks, std::max<std::int64_t>(1, grain / block_size), [&](std::int64_t begin, std::int64_t end) {
        std::array<double, block_columns> sums;
        for (std::int64_t block = begin; block < end; ++block) {
            const std::int64_t first_column = block % column_blocks * block_columns;
            const std::int64_t row_block = block / column_blocks % row_blocks;
            const std::int64_t slab = block / column_blocks / row_blocks;
            const std::int64_t first_row = row_block * rows;
            const std::int64_t count = std::min(rows, length - first_row);
            const std::int64_t columns = std::min(block_columns, inner - first_column);
            const From* const source = x + (slab * length + first_row) * inner + first_column;
            if (inner == 1) {
                sums[0] = sum_neighbours(source, count);
            } else {
                sum_rows(source, count, inner, columns, sums.data());
            }
            if (partials) {
                std::copy_n(sums.data(), columns, partials + (slab * row_blocks + row_block) * inner + first_column);
            } else {
                for (std::int64_t j = 0; j < columns; ++j)
                    y[slab * inner + first_column + j] = static_cast<To>(sums[static_cast<std::size_t>(j)] / divisor);
            }
        }
    });
    if (!partials) return;
    const std::int64_t per_row = std::max<std::int64_t>(1, grain / row_blocks);
    parallel_for(outer * column_blocks, ceil_div(per_row, block_columns), [&](std::int64_t begin, std::int64_t end) {
        std::array<double, block_columns> sums;
        for (std::int64_t block = begin; block < end; ++block) {
            const std::int64_t slab = block / column_blocks;
            const std::int64_t first = block % column_blocks * block_columns;
            const std::int64_t columns = std::min(block_columns, inner - first);
            sum_rows(partials + slab * row_blocks * inner + first, row_blocks, inner, columns, sums.data());
            for (std::int64_t j = 0; j < columns; ++j)
                y[slab * inner + first + j] = static_cast<To>(sums[static_cast<std::size_t>(j)] / divisor);
        }
    });
}

// x summed to `shape`, which broadcasts to x's shape, then divided by `divisor`. Neighbouring axes with the same fate
// are taken as one; each group of summed axes is one pass, the innermost first.
Tensor reduce(const char* name, const Tensor& x, const Shape& shape, double divisor) {
    if (x.numel() == 0) return Tensor::zeros(shape, x.dtype());
    struct Group {
        std::int64_t size;
        bool summed;
    };
    std::vector<Group> groups;
    const int missing = x.rank() - shape.rank();
    for (int axis = 0; axis < x.rank(); ++axis) {
        const std::int64_t size = x.shape()[axis];
        if (size == 1) continue;
        const bool summed = axis < missing || shape[axis - missing] != size;
        if (!groups.empty() && groups.back().summed == summed) groups.back().size *= size;
        else groups.push_back({size, summed});
    }
    auto passes = std::count_if(groups.begin(), groups.end(), [](const Group& group) { return group.summed; });
    if (passes == 0) return GraphAccess::view(x, shape).clone();  // not x's storage, which may be written to later

    Tensor current = x;
    std::int64_t outer = x.numel();
    std::int64_t inner = 1;
    while (passes > 0) {
        const Group group = groups.back();
        groups.pop_back();
        outer /= group.size;
        if (!group.summed) {
            inner *= group.size;
            continue;
        }
        const bool last = --passes == 0;
        Tensor next = last ? Tensor::empty(shape, x.dtype()) : Tensor::empty({outer * inner}, DType::f64);
        dispatch_float(current.dtype(), name, [&](auto from) {
            dispatch_float(next.dtype(), name, [&](auto to) {
                sum_middle(std::as_const(current).data<decltype(from)>(), outer, group.size, inner,
                           last ? divisor : 1.0, next.data<decltype(to)>());
            });
        });
        current = next;
    }
    return current;
}

}  // namespace

Tensor sum(const Tensor& x, std::vector<int> axes, bool keep_dims) {
    const ReducedShapes to = reduced_shapes("sum", x.shape(), axes);
    const Tensor y = GraphAccess::view(reduce("sum", x, to.kept, 1), keep_dims ? to.kept : to.dropped);
    return record("sum", {x}, y, {}, [kept = to.kept](Backward& bw) {
        // every term gets the gradient of its sum
        bw.set(0, broadcast_to(GraphAccess::view(bw.grad(), kept), bw.input_shape(0)));
    });
}

Tensor mean(const Tensor& x, std::vector<int> axes, bool keep_dims) {
    const ReducedShapes to = reduced_shapes("mean", x.shape(), axes);
    if (to.terms == 0) throw Error("mean: there is nothing to average; x is " + x.shape().str());
    const auto terms = static_cast<double>(to.terms);
    const Tensor y = GraphAccess::view(reduce("mean", x, to.kept, terms), keep_dims ? to.kept : to.dropped);
    return record("mean", {x}, y, {}, [kept = to.kept, terms](Backward& bw) {
        const Tensor share = scale(GraphAccess::view(bw.grad(), kept), 1 / terms);
        bw.set(0, broadcast_to(share, bw.input_shape(0)));
    });
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
    if (x.shape() == shape) return x;
    if (!broadcasts_to(shape, x.shape()))
        throw Error("sum_to: the shape does not broadcast to x's; x is " + x.shape().str() + ", the shape is " +
                    shape.str());
    return record("sum_to", {x}, reduce("sum_to", x, shape, 1), {},
                  [](Backward& bw) { bw.set(0, broadcast_to(bw.grad(), bw.input_shape(0))); });
}

}  // namespace headscope
