#include <cstring>

#include "nn/multi_head_attention.h"

namespace headscope::nn {
namespace {

/// Calls body(offset in the big matrix, offset in the block, length) in bytes,
/// once for each row of the block.
template <class Body>
void for_each_row(const HeadSlice& slice, Body&& body) {
    const auto bytes = [&](std::int64_t elements) {
        return static_cast<std::size_t>(elements) * size_of(slice.weight.dtype());
    };
    for (std::int64_t r = 0; r < slice.rows; ++r)
        body(bytes((slice.row + r) * slice.weight.size(1) + slice.col), bytes(r * slice.cols), bytes(slice.cols));
}

Tensor block_of(const HeadSlice& slice, const Tensor& matrix) {
    Tensor block = Tensor::empty({slice.rows, slice.cols}, matrix.dtype());
    for_each_row(slice, [&](std::size_t from, std::size_t to, std::size_t length) {
        std::memcpy(block.bytes() + to, matrix.bytes() + from, length);
    });
    return block;
}

}  // namespace

Tensor HeadSlice::values() const { return block_of(*this, weight); }

Tensor HeadSlice::gradient() const {
    if (!weight.grad().defined()) throw Error("HeadSlice: there is no gradient yet; call backward first");
    return block_of(*this, weight.grad());
}

void HeadSlice::assign(const Tensor& values) const {
    if (!(values.shape() == Shape{rows, cols}) || values.dtype() != weight.dtype())
        throw Error("HeadSlice: the values do not fit; the block is " + Shape{rows, cols}.str() + " " +
                    std::string(headscope::name_of(weight.dtype())) + ", the values are " + values.shape().str() + " " +
                    std::string(headscope::name_of(values.dtype())));
    Tensor matrix = weight;  // a handle on the same storage
    for_each_row(*this, [&](std::size_t to, std::size_t from, std::size_t length) {
        std::memcpy(matrix.bytes() + to, values.bytes() + from, length);
    });
}

HeadSlice head_slice(const MultiHeadAttention& attention, std::int64_t head, Projection projection) {
    if (head < 0 || head >= attention.num_heads())
        throw Error("head_slice: there is no head " + std::to_string(head) + "; num_heads is " +
                    std::to_string(attention.num_heads()));
    const std::int64_t d_model = attention.d_model(), d_k = attention.head_dim();
    const std::int64_t group = attention.kv_head_of(head);
    switch (projection) {
        case Projection::q: return {attention.W_q.weight, head * d_k, 0, d_k, d_model};
        case Projection::k: return {attention.W_k.weight, group * d_k, 0, d_k, d_model};
        case Projection::v: return {attention.W_v.weight, group * d_k, 0, d_k, d_model};
        case Projection::o: return {attention.W_o.weight, 0, head * d_k, d_model, d_k};
    }
    throw Error("head_slice: no such projection");
}

}  // namespace headscope::nn
