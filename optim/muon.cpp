#include "optim/muon.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "autograd/kernels/gemm.h"
#include "autograd/parallel.h"
#include "optim/clip.h"

namespace headscope::optim {
namespace {

constexpr int newton_schulz_steps = 5;
constexpr double coefficient_a = 3.4445, coefficient_b = -4.7750, coefficient_c = 2.0315;
constexpr double smallest_norm = 1e-7;   // added, so that a gradient of zeros gives zeros
constexpr std::int64_t grain = 1 << 14;  // elements per chunk

/// c[i] = x * a[i] + y * b[i]; c may be a or b.
template <class T>
void combine(std::int64_t n, T x, const T* a, T y, const T* b, T* c) {
    parallel_for(n, grain, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) c[i] = x * a[i] + y * b[i];
    });
}

/// X = a X + (b A + c A A) X with A = X X^T, five times; x is [rows, cols].
template <class T>
void newton_schulz(T* x, std::int64_t rows, std::int64_t cols, DType dtype) {
    Tensor gram = Tensor::empty({rows, rows}, dtype), square = Tensor::empty({rows, rows}, dtype),
           product = Tensor::empty({rows, cols}, dtype);
    T* const A = gram.data<T>();
    T* const B = square.data<T>();
    T* const BX = product.data<T>();
    for (int step = 0; step < newton_schulz_steps; ++step) {
        kernels::gemm<T>(rows, rows, cols, {x, cols, 1}, {x, 1, cols}, A, rows, false);
        kernels::gemm<T>(rows, rows, rows, {A, rows, 1}, {A, rows, 1}, B, rows, false);
        combine(rows * rows, static_cast<T>(coefficient_b), A, static_cast<T>(coefficient_c), B, B);
        kernels::gemm<T>(rows, cols, rows, {B, rows, 1}, {x, cols, 1}, BX, cols, false);
        combine(rows * cols, static_cast<T>(coefficient_a), x, T{1}, BX, x);
    }
}

template <class T>
void transpose(const T* from, T* to, std::int64_t rows, std::int64_t cols) {
    for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < cols; ++j) to[j * rows + i] = from[i * cols + j];
}

bool is_matrix(const nn::Parameter& parameter) { return parameter.role == nn::ParameterRole::matrix; }

}  // namespace

Tensor orthogonalise(const Tensor& matrix) {
    if (matrix.rank() != 2) throw Error("orthogonalise: the tensor must have two axes; it is " + matrix.shape().str());
    const std::int64_t rows = matrix.size(0), cols = matrix.size(1);
    const double norm = norms({matrix})[0] + smallest_norm;
    Tensor result = Tensor::empty(matrix.shape(), matrix.dtype());
    dispatch_float(matrix.dtype(), "orthogonalise", [&](auto zero) {
        using T = decltype(zero);
        const T scale = static_cast<T>(1 / norm);
        combine(rows * cols, scale, matrix.data<T>(), T{0}, matrix.data<T>(), result.data<T>());
        if (rows <= cols) {
            newton_schulz(result.data<T>(), rows, cols, matrix.dtype());
            return;
        }
        Tensor turned = Tensor::empty({cols, rows}, matrix.dtype());
        transpose(result.data<T>(), turned.data<T>(), rows, cols);
        newton_schulz(turned.data<T>(), cols, rows, matrix.dtype());
        transpose(turned.data<T>(), result.data<T>(), cols, rows);
    });
    return result;
}

Muon::Muon(std::vector<ParameterGroup> groups, const MuonOptions& options)
    : Optimizer(std::move(groups)), momentum_(options.momentum), elsewhere_lr_ratio_(options.elsewhere_lr_ratio) {
    if (!(momentum_ >= 0 && momentum_ < 1))
        throw Error("muon: momentum must be in [0, 1); it is " + std::to_string(momentum_));
    if (!(elsewhere_lr_ratio_ >= 0))
        throw Error("muon: the learning rate of the others must not be negative; its ratio is " +
                    std::to_string(elsewhere_lr_ratio_));
    bool any_elsewhere = false;
    std::vector<ParameterGroup> others;
    for (const ParameterGroup& group : groups_) {
        others.push_back({{}, group.lr, group.weight_decay});
        for (const nn::Parameter& parameter : group.parameters) {
            if (is_matrix(parameter)) {
                if (parameter.tensor.rank() != 2)
                    throw Error("muon: " + parameter.name + " has the role of a matrix and is " +
                                parameter.tensor.shape().str() + "; register it with another role");
                buffers_.push_back(add_state(parameter, "momentum_buffer"));
            } else {
                others.back().parameters.push_back(parameter);
                any_elsewhere = true;
            }
        }
    }
    if (!any_elsewhere) return;
    AdamOptions elsewhere = options.elsewhere;
    elsewhere.decoupled = true;
    elsewhere_ = std::make_unique<Adam>(std::move(others), elsewhere);
    share_state(*elsewhere_);
}

void Muon::update(double gradient_scale) {
    std::size_t number = 0;
    for (const ParameterGroup& group : groups_) {
        for (const nn::Parameter& named : group.parameters) {
            if (!is_matrix(named)) continue;
            Tensor& buffer = buffers_[number++];
            Tensor parameter = named.tensor;
            const Tensor gradient = parameter.grad();
            if (!gradient.defined()) continue;
            Tensor update = Tensor::empty(parameter.shape(), parameter.dtype());
            const double shape_scale = std::sqrt(
                std::max(1.0, static_cast<double>(parameter.size(0)) / static_cast<double>(parameter.size(1))));
            dispatch_float(parameter.dtype(), "muon", [&](auto zero) {
                using T = decltype(zero);
                const std::int64_t n = parameter.numel();
                const T momentum = static_cast<T>(momentum_);
                const T scale = static_cast<T>(gradient_scale);
                combine(n, momentum, buffer.data<T>(), scale, gradient.data<T>(), buffer.data<T>());
                combine(n, scale, gradient.data<T>(), momentum, buffer.data<T>(), update.data<T>());
                const Tensor direction = orthogonalise(update);
                combine(n, static_cast<T>(1 - group.lr * group.weight_decay), parameter.data<T>(),
                        static_cast<T>(-group.lr * shape_scale), direction.data<T>(), parameter.data<T>());
            });
        }
    }
    if (!elsewhere_) return;
    for (std::size_t i = 0; i < groups_.size(); ++i) {
        elsewhere_->groups()[i].lr = groups_[i].lr * elsewhere_lr_ratio_;
        elsewhere_->groups()[i].weight_decay = groups_[i].weight_decay;
    }
    elsewhere_->step(gradient_scale);
}

}  // namespace headscope::optim
