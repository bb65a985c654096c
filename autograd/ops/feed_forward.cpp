#include "autograd/ops/feed_forward.h"

#include <vector>

#include "autograd/graph.h"
#include "autograd/kernels/activations.h"
#include "autograd/ops/kept_values.h"
#include "autograd/ops/linear.h"
#include "autograd/ops/linear_products.h"

namespace headscope {
namespace {

// h = x W1^T + b1 is the hidden layer before its activation, a = f(h) after it.
//
// The backward pass needs a and the slope f'(h). Small ones are kept. In place of large ones h is kept, half as much,
// and both are made again, block by block, as the gradient of h is.

/// Runs on a block of h in the forward pass.
template <class T>
struct Activate {
    Activation which;
    const T* before;  // h
    T* after;         // a; may be h
    T* slope;         // or null
    std::int64_t width;

    static void block(const void* context, std::int64_t i, std::int64_t j, std::int64_t rows, std::int64_t cols) {
        const auto& self = *static_cast<const Activate*>(context);
        for (std::int64_t row = i; row < i + rows; ++row) {
            const std::int64_t at = row * self.width + j;
            if (self.slope == nullptr) kernels::activate(self.which, self.before + at, self.after + at, cols);
            else kernels::activate_with_slope(self.which, self.before + at, self.after + at, self.slope + at, cols);
        }
    }
};

/// Runs on a block of the gradient of a in the backward pass and makes it that of h.
template <class T>
struct ThroughActivation {
    Activation which;
    T* gradient;
    const T* slope;   // or null: then from h, and a with it
    const T* before;  // h
    T* after;         // a
    std::int64_t width;

    static void block(const void* context, std::int64_t i, std::int64_t j, std::int64_t rows, std::int64_t cols) {
        const auto& self = *static_cast<const ThroughActivation*>(context);
        thread_local std::vector<T> made;
        made.resize(static_cast<std::size_t>(cols));
        for (std::int64_t row = i; row < i + rows; ++row) {
            const std::int64_t at = row * self.width + j;
            const T* slope = self.slope != nullptr ? self.slope + at : made.data();
            if (self.slope == nullptr)
                kernels::activate_with_slope(self.which, self.before + at, self.after + at, made.data(), cols);
            T* const g = self.gradient + at;
            for (std::int64_t c = 0; c < cols; ++c) g[c] *= slope[c];
        }
    }
};

void check(const Tensor& x, const FeedForwardWeights& weights, const Tensor& residual) {
    check_linear("feed_forward", x, weights.weight1, weights.bias1);
    const Tensor like_hidden = Tensor::empty({0, weights.weight1.size(0)}, x.dtype());
    check_linear("feed_forward", like_hidden, weights.weight2, weights.bias2);
    const Shape result = with_last(x.shape(), weights.weight2.size(0));
    if (residual.defined() && (!(residual.shape() == result) || residual.dtype() != x.dtype()))
        throw Error("feed_forward: the residual must be as the result, " + std::string(name_of(x.dtype())) + " " +
                    result.str() + "; it is " + std::string(name_of(residual.dtype())) + " " + residual.shape().str());
}

/// Order of the tensors that feed_forward saves for its backward pass. hidden is a where its slope is saved, else h.
enum Saved { saved_x, saved_weight1, saved_weight2, saved_hidden, saved_slope };

template <class T>
void feed_forward_backward(Backward& bw, Activation activation) {
    const Tensor& g = bw.grad();
    const Tensor &x = bw.saved(saved_x), &weight1 = bw.saved(saved_weight1), &weight2 = bw.saved(saved_weight2);
    const Tensor &kept = bw.saved(saved_hidden), &slope = bw.saved(saved_slope);
    Tensor after = slope.defined() ? kept : Tensor::empty(kept.shape(), kept.dtype());
    Tensor dh = Tensor::empty(kept.shape(), kept.dtype());
    const ThroughActivation<T> through{.which = activation,
                                       .gradient = dh.data<T>(),
                                       .slope = slope.defined() ? slope.data<T>() : nullptr,
                                       .before = kept.data<T>(),
                                       .after = after.data<T>(),
                                       .width = weight1.size(0)};
    kernels::MatrixProduct<T> to_hidden = input_product<T>(g, weight2, dh);
    to_hidden.finish = {&ThroughActivation<T>::block, &through};
    kernels::gemm<T>(to_hidden);

    Tensor dx, dw1, db1, dw2, db2;
    std::vector<kernels::MatrixProduct<T>> products;
    std::vector<kernels::ColumnSums<T>> sums;
    if (bw.needs(0)) {
        dx = Tensor::empty(x.shape(), x.dtype());
        products.push_back(input_product<T>(dh, weight1, dx));
    }
    if (bw.needs(1)) {
        dw1 = Tensor::empty(weight1.shape(), weight1.dtype());
        products.push_back(weight_product<T>(dh, x, dw1));
    }
    if (bw.needs(2)) {
        db1 = Tensor::empty({weight1.size(0)}, weight1.dtype());
        sums.push_back(bias_sums<T>(dh, db1));
    }
    if (bw.needs(3)) {
        dw2 = Tensor::empty(weight2.shape(), weight2.dtype());
        products.push_back(weight_product<T>(g, after, dw2));
    }
    if (bw.needs(4)) {
        db2 = Tensor::empty({weight2.size(0)}, weight2.dtype());
        sums.push_back(bias_sums<T>(g, db2));
    }
    kernels::gemm<T>(products, sums);

    bw.set(0, std::move(dx));
    bw.set(1, std::move(dw1));
    bw.set(2, std::move(db1));
    bw.set(3, std::move(dw2));
    bw.set(4, std::move(db2));
    if (bw.needs(5)) bw.set(5, g);
}

}  // namespace

Tensor feed_forward(const Tensor& x, const FeedForwardWeights& weights, Activation activation, const Tensor& residual) {
    check(x, weights, residual);
    const Tensor &weight1 = weights.weight1, &weight2 = weights.weight2;
    const bool recorded = records({x, weight1, weights.bias1, weight2, weights.bias2, residual});
    Tensor before = Tensor::empty(with_last(x.shape(), weight1.size(0)), x.dtype());
    const bool keep_slope = recorded && is_worth_keeping(before.numel(), x.dtype());
    Tensor after = recorded && !keep_slope ? Tensor::empty(before.shape(), x.dtype()) : before;
    Tensor slope;
    if (keep_slope) slope = Tensor::empty(before.shape(), x.dtype());
    Tensor y = Tensor::empty(with_last(x.shape(), weight2.size(0)), x.dtype());
    dispatch_float(x.dtype(), "feed_forward", [&](auto zero) {
        using T = decltype(zero);
        const Activate<T> activate{.which = activation,
                                   .before = before.data<T>(),
                                   .after = after.data<T>(),
                                   .slope = keep_slope ? slope.data<T>() : nullptr,
                                   .width = weight1.size(0)};
        kernels::MatrixProduct<T> first = map_product<T>(x, weight1, weights.bias1, Tensor{}, before);
        first.finish = {&Activate<T>::block, &activate};
        kernels::gemm<T>(first);
        kernels::gemm<T>(map_product<T>(after, weight2, weights.bias2, residual, y));
    });
    return record("feed_forward", {x, weight1, weights.bias1, weight2, weights.bias2, residual}, y,
                  {x, weight1, weight2, before, slope}, [activation](Backward& bw) {
                      dispatch_float(bw.grad().dtype(), "feed_forward",
                                     [&](auto zero) { feed_forward_backward<decltype(zero)>(bw, activation); });
                  });
}

Tensor feed_forward_unfused(const Tensor& x, const FeedForwardWeights& weights, Activation activation,
                            const Tensor& residual) {
    return linear(activate(linear(x, weights.weight1, weights.bias1), activation), weights.weight2, weights.bias2,
                  residual);
}

}  // namespace headscope
