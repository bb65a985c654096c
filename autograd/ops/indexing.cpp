#include "autograd/ops/indexing.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "autograd/graph.h"
#include "autograd/kernels/strided_walk.h"
#include "autograd/ops/shaping.h"
#include "autograd/parallel.h"

namespace headscope {
namespace {

constexpr std::int64_t grain = 16384;  // elements worth a thread

/// Calls body(T{}) with the scalar type of any dtype.
template <class Body>
void dispatch_any(DType dtype, Body&& body) {
    switch (dtype) {
        case DType::f32: return body(float{});
        case DType::f64: return body(double{});
        case DType::i64: return body(std::int64_t{});
        case DType::boolean: return body(std::uint8_t{});
    }
}

/// Product of the sizes of axes [first, last).
std::int64_t elements(const Shape& shape, int first, int last) {
    std::int64_t count = 1;
    for (int axis = first; axis < last; ++axis) count *= shape[axis];
    return count;
}

/// Part of a tensor: elements begin, begin + step, ... of one axis.
struct Part {
    int axis;
    std::int64_t begin, step;

    std::int64_t offset(const Shape& whole) const {
        return begin * contiguous_strides(whole)[static_cast<std::size_t>(axis)];
    }
    Strides strides(const Shape& whole) const {
        Strides result = contiguous_strides(whole);
        result[static_cast<std::size_t>(axis)] *= step;
        return result;
    }
};

/// The part of x, of the given shape, outside the graph.
Tensor take(const Tensor& x, const Part& part, const Shape& shape) {
    Tensor result = Tensor::empty(shape, x.dtype());
    const StridedWalk<1> walk(shape, {part.strides(x.shape())});
    dispatch_any(x.dtype(), [&](auto zero) {
        using T = decltype(zero);
        const T* const from = x.data<T>() + part.offset(x.shape());
        T* const to = result.data<T>();
        parallel_for(shape.numel(), grain, [&](std::int64_t begin, std::int64_t end) {
            walk.run(begin, end, [&](std::int64_t position, std::int64_t count, const auto& offsets) {
                for (std::int64_t i = 0; i < count; ++i) to[position + i] = from[offsets[0] + i * walk.step(0)];
            });
        });
    });
    return result;
}

/// A tensor of shape `whole` that is `values` in the part and 0 elsewhere.
Tensor put(const Tensor& values, const Part& part, const Shape& whole) {
    Tensor result = Tensor::zeros(whole, values.dtype());
    const StridedWalk<1> walk(values.shape(), {part.strides(whole)});
    dispatch_float(values.dtype(), "slice", [&](auto zero) {
        using T = decltype(zero);
        const T* const from = values.data<T>();
        T* const to = result.data<T>() + part.offset(whole);
        parallel_for(values.numel(), grain, [&](std::int64_t begin, std::int64_t end) {
            walk.run(begin, end, [&](std::int64_t position, std::int64_t count, const auto& offsets) {
                for (std::int64_t i = 0; i < count; ++i) to[offsets[0] + i * walk.step(0)] = from[position + i];
            });
        });
    });
    return result;
}

/// The shape of the tensors one behind the other.
Shape concat_shape(const std::vector<Tensor>& tensors, int axis) {
    Shape shape = tensors[0].shape();
    for (std::size_t i = 1; i < tensors.size(); ++i) {
        const Tensor& tensor = tensors[i];
        const auto fail = [&](const char* what) {
            return Error(std::string("concat: ") + what + "; tensor 0 is " + std::string(name_of(tensors[0].dtype())) +
                         " " + tensors[0].shape().str() + ", tensor " + std::to_string(i) + " is " +
                         std::string(name_of(tensor.dtype())) + " " + tensor.shape().str());
        };
        if (tensor.dtype() != tensors[0].dtype()) throw fail("the dtypes differ");
        if (tensor.rank() != shape.rank()) throw fail("the numbers of axes differ");
        for (int other = 0; other < shape.rank(); ++other)
            if (other != axis && tensor.shape()[other] != shape[other])
                throw fail("only the axis of concatenation may differ in size");
        shape[axis] += tensor.shape()[axis];
    }
    return shape;
}

/// Where gather reads: the result's element `position` is x's element offset + index[position] * stride.
struct Gathered {
    StridedWalk<1> walk;
    std::int64_t stride;

    Gathered(const Shape& x, int axis, const Shape& index) : walk(index, {without(x, axis)}) {
        stride = contiguous_strides(x)[static_cast<std::size_t>(axis)];
    }
    static Strides without(const Shape& x, int axis) {
        Strides strides = contiguous_strides(x);
        strides[static_cast<std::size_t>(axis)] = 0;
        return strides;
    }
    /// Calls body(position, place in x) for positions [begin, end), in order.
    template <class Body>
    void run(const std::int64_t* index, std::int64_t begin, std::int64_t end, Body&& body) const {
        walk.run(begin, end, [&](std::int64_t position, std::int64_t count, const auto& offsets) {
            for (std::int64_t i = 0; i < count; ++i)
                body(position + i, offsets[0] + i * walk.step(0) + index[position + i] * stride);
        });
    }
};

void check_gather(const Tensor& x, int axis, const Tensor& index) {
    const auto fail = [&](const std::string& what) {
        return Error("gather: " + what + "; x is " + x.shape().str() + ", the index is " + index.shape().str() +
                     ", the axis " + std::to_string(axis));
    };
    if (index.dtype() != DType::i64) throw fail("the index must be int64, not " + std::string(name_of(index.dtype())));
    if (index.rank() != x.rank()) throw fail("x and the index must have as many axes");
    for (int other = 0; other < x.rank(); ++other)
        if (other != axis && index.shape()[other] > x.shape()[other])
            throw fail("the index is larger than x along axis " + std::to_string(other));
    const std::int64_t size = x.shape()[axis];
    const auto values = index.values<std::int64_t>();
    const auto wrong = std::find_if(values.begin(), values.end(), [size](auto i) { return i < 0 || i >= size; });
    if (wrong == values.end()) return;
    Shape place = index.shape();
    std::int64_t rest = wrong - values.begin();
    for (int i = place.rank() - 1; i >= 0; --i) {
        place[i] = rest % index.shape()[i];
        rest /= index.shape()[i];
    }
    throw fail("index " + std::to_string(*wrong) + " at " + place.str() + " is outside [0, " + std::to_string(size) +
               ")");
}

/// Adds `values` to a tensor of zeros of shape `whole` where gather read them. What lies before the axis splits the
/// work: no two of those read from the same elements.
Tensor scatter_add(const Tensor& values, int axis, const Tensor& index, const Shape& whole) {
    Tensor result = Tensor::zeros(whole, values.dtype());
    if (values.numel() == 0) return result;
    const Gathered places(whole, axis, index.shape());
    const std::int64_t outer = elements(index.shape(), 0, axis);
    const std::int64_t slab = index.numel() / outer;
    dispatch_float(values.dtype(), "gather", [&](auto zero) {
        using T = decltype(zero);
        const T* const from = values.data<T>();
        T* const to = result.data<T>();
        const std::int64_t* const chosen = index.data<std::int64_t>();
        parallel_for(outer, std::max<std::int64_t>(1, grain / slab), [&](std::int64_t begin, std::int64_t end) {
            places.run(chosen, begin * slab, end * slab,
                       [&](std::int64_t position, std::int64_t place) { to[place] += from[position]; });
        });
    });
    return result;
}

}  // namespace

Tensor slice(const Tensor& x, int axis, std::int64_t begin, std::int64_t end, std::int64_t step) {
    const int along = x.shape().axis(axis, "slice");
    const std::int64_t size = x.shape()[along];
    const std::int64_t first = begin < 0 ? begin + size : begin;
    const std::int64_t last = end < 0 ? end + size : end;
    if (first < 0 || first > last || last > size || step < 1)
        throw Error("slice: [" + std::to_string(begin) + ", " + std::to_string(end) + ") in steps of " +
                    std::to_string(step) + " is no part of axis " + std::to_string(axis) + "; x is " + x.shape().str());
    const Part part{along, first, step};
    Shape shape = x.shape();
    shape[along] = (last - first + step - 1) / step;
    return record("slice", {x}, take(x, part, shape), {},
                  [part](Backward& bw) { bw.set(0, put(bw.grad(), part, bw.input_shape(0))); });
}

Tensor concat(const std::vector<Tensor>& tensors, int axis) {
    if (tensors.empty()) throw Error("concat: there are no tensors; give at least one");
    const int along = tensors[0].shape().axis(axis, "concat");
    Tensor result = Tensor::empty(concat_shape(tensors, along), tensors[0].dtype());
    const Shape& shape = result.shape();
    const std::int64_t outer = elements(shape, 0, along);
    const std::int64_t slab = elements(shape, along, shape.rank());  // elements of one step of the axes before
    parallel_for(outer, std::max<std::int64_t>(1, grain / std::max<std::int64_t>(1, slab)),
                 [&](std::int64_t begin, std::int64_t end) {
                     const std::size_t width = size_of(result.dtype());
                     for (std::int64_t row = begin; row < end; ++row) {
                         std::byte* to = result.bytes() + static_cast<std::size_t>(row * slab) * width;
                         for (const Tensor& tensor : tensors) {
                             const auto part = static_cast<std::size_t>(elements(tensor.shape(), along, tensor.rank()));
                             if (part == 0) continue;
                             std::memcpy(to, tensor.bytes() + static_cast<std::size_t>(row) * part * width,
                                         part * width);
                             to += part * width;
                         }
                     }
                 });
    return record("concat", tensors, result, [along, count = tensors.size()](Backward& bw) {
        std::int64_t begin = 0;
        for (int i = 0; i < static_cast<int>(count); ++i) {
            const std::int64_t size = bw.input_shape(i)[along];
            if (bw.needs(i)) bw.set(i, slice(bw.grad(), along, begin, begin + size));
            begin += size;
        }
    });
}

Tensor stack(const std::vector<Tensor>& tensors, int axis) {
    if (tensors.empty()) throw Error("stack: there are no tensors; give at least one");
    const Shape& shape = tensors[0].shape();
    const int along = axis < 0 ? axis + shape.rank() + 1 : axis;
    if (along < 0 || along > shape.rank())
        throw Error("stack: there is no axis " + std::to_string(axis) + " in the result; the tensors are " +
                    shape.str());
    std::vector<std::int64_t> sizes(shape.begin(), shape.end());
    sizes.insert(sizes.begin() + along, 1);
    std::vector<Tensor> parts;
    for (const Tensor& tensor : tensors) {
        if (!(tensor.shape() == shape))
            throw Error("stack: the shapes differ; tensor 0 is " + shape.str() + ", tensor " +
                        std::to_string(parts.size()) + " is " + tensor.shape().str());
        parts.push_back(reshape(tensor, sizes));
    }
    return concat(parts, along);
}

Tensor gather(const Tensor& x, int axis, const Tensor& index) {
    const int along = x.shape().axis(axis, "gather");
    check_gather(x, along, index);
    Tensor result = Tensor::empty(index.shape(), x.dtype());
    const Gathered places(x.shape(), along, index.shape());
    dispatch_any(x.dtype(), [&](auto zero) {
        using T = decltype(zero);
        const T* const from = x.data<T>();
        T* const to = result.data<T>();
        const std::int64_t* const chosen = index.data<std::int64_t>();
        parallel_for(index.numel(), grain, [&](std::int64_t begin, std::int64_t end) {
            places.run(chosen, begin, end,
                       [&](std::int64_t position, std::int64_t place) { to[position] = from[place]; });
        });
    });
    return record("gather", {x}, result, {index},
                  [along](Backward& bw) { bw.set(0, scatter_add(bw.grad(), along, bw.saved(0), bw.input_shape(0))); });
}

}  // namespace headscope
