#include "autograd/ops/shaping.h"

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>
#include <string>

#include "autograd/graph.h"
#include "autograd/kernels/strided_walk.h"
#include "autograd/parallel.h"
#include "autograd/tensor_impl.h"

namespace headscope {
namespace {

constexpr std::int64_t grain = 16384;  // elements worth a thread

// "[6, -1]": sizes that may not be a Shape yet.
std::string text_of(const std::vector<std::int64_t>& sizes) {
    std::string text = "[";
    for (std::size_t i = 0; i < sizes.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(sizes[i]);
    return text + "]";
}

// The result of `shape` whose elements are x's, read through `strides`.
template <class T>
void gather(const Tensor& x, const StridedWalk<1>& walk, Tensor& result) {
    const T* const source = x.data<T>();
    T* const target = result.data<T>();
    const std::int64_t step = walk.step(0);
    parallel_for(result.numel(), grain, [&](std::int64_t begin, std::int64_t end) {
        walk.run(begin, end, [&](std::int64_t position, std::int64_t count, const auto& offsets) {
            const T* const from = source + offsets[0];
            T* const to = target + position;
            if (step == 1) std::copy_n(from, count, to);
            else if (step == 0) std::fill_n(to, count, *from);
            else
                for (std::int64_t i = 0; i < count; ++i) to[i] = from[i * step];
        });
    });
}

Tensor read_through(const Tensor& x, const Shape& shape, const Strides& strides) {
    Tensor result = Tensor::empty(shape, x.dtype());
    const StridedWalk<1> walk(shape, {strides});
    switch (x.dtype()) {
        case DType::f32: gather<float>(x, walk, result); break;
        case DType::f64: gather<double>(x, walk, result); break;
        case DType::i64: gather<std::int64_t>(x, walk, result); break;
        case DType::boolean: gather<std::uint8_t>(x, walk, result); break;
    }
    return result;
}

}  // namespace

Tensor reshape(const Tensor& x, std::vector<std::int64_t> sizes) {
    const auto fail = [&](const char* what) {
        return Error(std::string("reshape: ") + what + "; x is " + x.shape().str() + ", the sizes are " +
                     text_of(sizes));
    };
    std::vector<std::int64_t> full = sizes;
    const auto open = std::find(full.begin(), full.end(), -1);
    if (open != full.end()) {
        *open = 1;
        const std::int64_t others = std::accumulate(full.begin(), full.end(), std::int64_t{1}, std::multiplies<>());
        if (others <= 0 || x.numel() % others != 0) throw fail("no single size fits in place of -1");
        *open = x.numel() / others;
    }
    const Shape shape{std::span<const std::int64_t>(full)};
    if (shape.numel() != x.numel()) throw fail("the number of elements differs");
    return record("reshape", {x}, GraphAccess::view(x, shape), {},
                  [](Backward& bw) { bw.set(0, GraphAccess::view(bw.grad(), bw.input_shape(0))); });
}

Tensor permute(const Tensor& x, std::vector<int> order) {
    const Strides strides = contiguous_strides(x.shape());
    const auto rank = static_cast<std::size_t>(x.rank());
    Shape shape = x.shape();
    Strides permuted{};
    std::array<int, Shape::max_rank> inverse;
    inverse.fill(-1);
    bool fits = order.size() == rank;
    for (std::size_t i = 0; fits && i < rank; ++i) {
        const int from = order[i];
        fits = from >= 0 && from < x.rank() && inverse[static_cast<std::size_t>(from)] < 0;
        if (!fits) break;
        inverse[static_cast<std::size_t>(from)] = static_cast<int>(i);
        shape[static_cast<int>(i)] = x.shape()[from];
        permuted[i] = strides[static_cast<std::size_t>(from)];
    }
    if (!fits)
        throw Error("permute: the order is not a permutation of the axes; x is " + x.shape().str() + ", the order is " +
                    text_of({order.begin(), order.end()}));
    return record("permute", {x}, read_through(x, shape, permuted), {}, [inverse, rank](Backward& bw) {
        bw.set(0, permute(bw.grad(), {inverse.begin(), inverse.begin() + rank}));
    });
}

Tensor broadcast_to(const Tensor& x, const Shape& shape) {
    if (!broadcasts_to(x.shape(), shape))
        throw Error("broadcast_to: x cannot be stretched to the shape; x is " + x.shape().str() + ", the shape is " +
                    shape.str());
    Tensor y = read_through(x, shape, broadcast_strides(x.shape(), shape));
    return record("broadcast_to", {x}, y, {},
                  [](Backward& bw) { bw.set(0, bw.grad()); });  // the engine sums it down to x's shape
}

}  // namespace headscope
