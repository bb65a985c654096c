#include "autograd/ops/embedding.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <string>
#include <vector>

#include "autograd/graph.h"
#include "autograd/parallel.h"

namespace headscope {
namespace {

constexpr std::int64_t grain = 16384;        // elements worth a thread
constexpr std::int64_t block_columns = 512;  // added at a time, in f64

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
        std::array<double, block_columns> sums;
        for (std::int64_t row = begin; row < end; ++row) {
            for (std::int64_t column = 0; column < width; column += block_columns) {
                const std::int64_t columns = std::min(block_columns, width - column);
                std::fill_n(sums.begin(), columns, 0.0);
                const auto token = static_cast<std::size_t>(row);
                for (std::int64_t i = first[token]; i < first[token + 1]; ++i) {
                    const T* const source = grad + order[static_cast<std::size_t>(i)] * width + column;
                    for (std::int64_t j = 0; j < columns; ++j)
                        sums[static_cast<std::size_t>(j)] += static_cast<double>(source[j]);
                }
                for (std::int64_t j = 0; j < columns; ++j)
                    result[row * width + column + j] = static_cast<T>(sums[static_cast<std::size_t>(j)]);
            }
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
