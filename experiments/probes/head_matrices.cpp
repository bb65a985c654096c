#include "experiments/probes/head_matrices.h"

#include <algorithm>
#include <utility>

#include "autograd/kernels/gemm.h"

namespace headscope::experiments {

Matrix to_matrix(const Tensor& tensor) {
    const Tensor values = tensor.to(DType::f64);
    return Eigen::Map<const RowMajorMatrix>(values.data<double>(), values.size(0), values.size(1));
}

Matrix head_matrix(const nn::MultiHeadAttention& attention, std::int64_t head, nn::Projection projection) {
    const Matrix stored = to_matrix(head_slice(attention, head, projection).values());
    if (projection == nn::Projection::o) return stored;
    return stored.transpose();
}

namespace {

/// The weight of a projection in f64, with a block for every head also where heads share one.
Tensor rows_per_head(const nn::MultiHeadAttention& attention, nn::Projection projection) {
    const Tensor weight = weight_of(attention, projection).to(DType::f64);
    const std::int64_t heads = attention.num_heads(), block = attention.head_dim() * attention.d_model();
    if (weight.numel() == heads * block) return weight;
    Tensor all = Tensor::empty({heads * attention.head_dim(), attention.d_model()}, DType::f64);
    for (std::int64_t h = 0; h < heads; ++h)
        std::copy_n(weight.data<double>() + attention.kv_head_of(h) * block, block, all.data<double>() + h * block);
    return all;
}

}  // namespace

Grams::Grams(const nn::MultiHeadAttention& attention, nn::Projection projection)
    : heads_(attention.num_heads()), width_(attention.head_dim()) {
    const Tensor weight = rows_per_head(attention, projection);
    const double* const W = weight.data<double>();
    const std::int64_t d = attention.d_model(), all = heads_ * width_;
    const bool columns = projection == nn::Projection::o;  // the others lie as rows
    const std::int64_t inner = columns ? 1 : d, outer = columns ? all : 1;
    values_ = Tensor::empty({all, all}, DType::f64);
    for (std::int64_t i = 0; i < heads_; ++i)
        kernels::gemm_serial<double>(width_, (i + 1) * width_, d, {W + i * width_ * inner, inner, outer},
                                     {W, outer, inner}, values_.data<double>() + i * width_ * all, all, false);
}

RowMajorBlock Grams::block(std::int64_t i, std::int64_t j) const {
    const std::int64_t all = heads_ * width_;
    return RowMajorBlock(values_.data<double>() + i * width_ * all + j * width_, width_, width_,
                         Eigen::OuterStride<>(all));
}

Circuit head_circuit(const nn::MultiHeadAttention& attention, std::int64_t head, CircuitKind kind) {
    const bool qk = kind == CircuitKind::qk;
    Factors left = orthonormal_factors(head_matrix(attention, head, qk ? nn::Projection::q : nn::Projection::v));
    Factors right = orthonormal_factors(head_matrix(attention, head, qk ? nn::Projection::k : nn::Projection::o));
    return {std::move(left.basis), multiply_nt(left.rest, right.rest), std::move(right.basis)};
}

std::vector<Circuit> head_circuits(const nn::Transformer& model, CircuitKind kind) {
    const std::int64_t heads = model.options().block.num_heads;
    std::vector<Circuit> circuits(static_cast<std::size_t>(model.num_layers() * heads));
    parallel_chunks(model.num_layers() * heads, [&](std::int64_t i) {
        circuits[static_cast<std::size_t>(i)] =
            head_circuit(model.blocks[static_cast<std::size_t>(i / heads)]->attn, i % heads, kind);
    });
    return circuits;
}

}  // namespace headscope::experiments
