#include "autograd/ops/embedding.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "autograd/graph.h"
#include "autograd/kernels/simd.h"
#include "autograd/parallel.h"

namespace headscope {
namespace {

constexpr std::int64_t grain = 16384;  // elements worth a thread

// "[1, 3]": where the flat index `place` is in a tensor of this shape.
std::string place_text(const Shape& shape, std::int64_t place) {
    Shape index = shape;
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
        index[axis] = place % shape[axis];
        place /= shape[axis];
    }
    return index.str();
}

void check(const Tensor& weight, const Tensor& tokens) {
    if (weight.rank() != 2) throw Error("embedding: the weight must be [V, d]; it is " + weight.shape().str());
    if (tokens.dtype() != DType::i64)
        throw Error("embedding: tokens must be int64; they are " + std::string(name_of(tokens.dtype())) + " " +
                    tokens.shape().str());
    const auto values = tokens.values<std::int64_t>();
    const std::int64_t rows = weight.size(0);
    const auto wrong =
        std::find_if(values.begin(), values.end(), [rows](std::int64_t token) { return token < 0 || token >= rows; });
    if (wrong != values.end())
        throw Error("embedding: token " + std::to_string(*wrong) + " at " +
                    place_text(tokens.shape(), wrong - values.begin()) + " is outside [0, " + std::to_string(rows) +
                    "); tokens are " + tokens.shape().str() + ", the weight is " + weight.shape().str());
}

/// result[j] = sum over `places` of grad[place * width + j] for j < columns, in f64 and in the order of the places.
/// `vectors` > 0: columns = vectors * lanes, and the sums stay in registers. 0: any number of columns below `lanes`.
template <int vectors, class T>
void add_columns(const T* grad, std::int64_t width, std::span<const std::int64_t> places, std::int64_t columns,
                 T* result) {
    constexpr std::int64_t lanes = kernels::Simd<double>::lanes;
    using Wide = kernels::Simd<double>::Vector;
    using Narrow __attribute__((vector_size(lanes * sizeof(T)))) = T;
    constexpr int count = vectors > 0 ? vectors : 1;
    const std::size_t bytes = vectors > 0 ? sizeof(Narrow) : static_cast<std::size_t>(columns) * sizeof(T);
    Wide sums[count] = {};
    for (const std::int64_t place : places) {
        for (int v = 0; v < count; ++v) {
            Narrow part{};
            std::memcpy(&part, grad + place * width + v * lanes, bytes);
            sums[v] += __builtin_convertvector(part, Wide);
        }
    }
    for (int v = 0; v < count; ++v) {
        const Narrow part = __builtin_convertvector(sums[v], Narrow);
        std::memcpy(result + v * lanes, &part, bytes);
    }
}

// dL/dweight [V, d] from dL/dresult [N, d]. Each row of the result has one owner, which adds the gradients of the
// places that used it, in their order: so no two threads meet, and the sum is the same for any number of them.
template <class T>
void add_rows(const T* grad, const Tensor& tokens, std::int64_t rows, std::int64_t width, T* result) {
    const auto values = tokens.values<std::int64_t>();
    const auto places = static_cast<std::int64_t>(values.size());
    // The places sorted by token: those of token t are order[first[t]] ... order[first[t + 1] - 1].
    std::vector<std::int64_t> first(static_cast<std::size_t>(rows) + 1);
    for (const std::int64_t token : values) ++first[static_cast<std::size_t>(token) + 1];
    std::partial_sum(first.begin(), first.end(), first.begin());
    std::vector<std::int64_t> order(values.size());
    std::vector<std::int64_t> next(first.begin(), first.end() - 1);
    for (std::int64_t place = 0; place < places; ++place) {
        const auto token = static_cast<std::size_t>(values[static_cast<std::size_t>(place)]);
        order[static_cast<std::size_t>(next[token]++)] = place;
    }
    const std::int64_t work_per_row = std::max<std::int64_t>(1, (places / std::max<std::int64_t>(1, rows) + 1) * width);
    parallel_for(rows, std::max<std::int64_t>(1, grain / work_per_row), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) {
            const auto token = static_cast<std::size_t>(row);
            const std::span<const std::int64_t> own(order.data() + first[token], order.data() + first[token + 1]);
            constexpr std::int64_t lanes = kernels::Simd<double>::lanes;
            constexpr int vectors = 4;
            T* const to = result + row * width;
            std::int64_t column = 0;
            for (; column + vectors * lanes <= width; column += vectors * lanes)
                add_columns<vectors>(grad + column, width, own, vectors * lanes, to + column);
            for (; column + lanes <= width; column += lanes)
                add_columns<1>(grad + column, width, own, lanes, to + column);
            if (column < width) add_columns<0>(grad + column, width, own, width - column, to + column);
        }
    });
}

}  // namespace

Tensor embedding(const Tensor& weight, const Tensor& tokens) {  // [V, d], [...] -> [..., d]
    check(weight, tokens);
    const std::int64_t width = weight.size(1);
    std::vector<std::int64_t> sizes(tokens.shape().begin(), tokens.shape().end());
    sizes.push_back(width);
    Tensor result = Tensor::empty(Shape(sizes), weight.dtype());
    dispatch_float(weight.dtype(), "embedding", [&](auto scalar) {
        using T = decltype(scalar);
        const T* const table = weight.data<T>();
        const std::int64_t* const token = tokens.data<std::int64_t>();
        T* const target = result.data<T>();
        parallel_for(tokens.numel(), std::max<std::int64_t>(1, grain / std::max<std::int64_t>(1, width)),
                     [&](std::int64_t begin, std::int64_t end) {
                         for (std::int64_t place = begin; place < end; ++place)
                             std::copy_n(table + token[place] * width, width, target + place * width);
                     });
    });
    return record("embedding", {weight, tokens}, result, {tokens}, [](Backward& bw) {
        const Shape& shape = bw.input_shape(0);
        Tensor gradient = Tensor::empty(shape, bw.grad().dtype());
        dispatch_float(gradient.dtype(), "embedding", [&](auto scalar) {
            using T = decltype(scalar);
            add_rows<T>(bw.grad().data<T>(), bw.saved(0), shape[0], shape[1], gradient.data<T>());
        });
        bw.set(0, gradient);
    });
}

}  // namespace headscope
