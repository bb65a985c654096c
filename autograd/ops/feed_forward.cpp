#include "autograd/ops/feed_forward.h"

#include <vector>

#include "autograd/graph.h"
#include "autograd/kernels/activations.h"
#include "autograd/ops/linear.h"
#include "autograd/ops/linear_products.h"

namespace headscope {
namespace {

/// Turns a block of h = x W1^T + b1 into f(h), and keeps f'(h) where `slope` is given.
template <class T>
struct Activate {
    Activation which;
    T* hidden;
    T* slope;  // or null
    std::int64_t width;

    static void block(const void* context, std::int64_t i, std::int64_t j, std::int64_t rows, std::int64_t cols) {
        const auto& self = *static_cast<const Activate*>(context);
        for (std::int64_t row = i; row < i + rows; ++row) {
            T* const h = self.hidden + row * self.width + j;
            if (self.slope == nullptr) kernels::activate(self.which, h, h, cols);
            else kernels::activate_with_slope(self.which, h, h, self.slope + row * self.width + j, cols);
        }
    }
};

/// Multiplies a block of the gradient of f(h) by f'(h).
template <class T>
struct MultiplySlope {
    T* gradient;
    const T* slope;
    std::int64_t width;

    static void block(const void* context, std::int64_t i, std::int64_t j, std::int64_t rows, std::int64_t cols) {
        const auto& self = *static_cast<const MultiplySlope*>(context);
        for (std::int64_t row = i; row < i + rows; ++row) {
            T* const g = self.gradient + row * self.width + j;
            const T* const s = self.slope + row * self.width + j;
            for (std::int64_t c = 0; c < cols; ++c) g[c] *= s[c];
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

template <class T>
void feed_forward_backward(Backward& bw) {
    const Tensor& g = bw.grad();
    const Tensor &x = bw.saved(0), &weight1 = bw.saved(1), &weight2 = bw.saved(2), &hidden = bw.saved(3),
                 &slope = bw.saved(4);
    Tensor dh = Tensor::empty(hidden.shape(), hidden.dtype());  // gradient of h
    Tensor dx, dw1, db1, dw2, db2;
    std::vector<kernels::MatrixProduct<T>> products;
    std::vector<kernels::ColumnSums<T>> sums;

    const MultiplySlope<T> multiply{dh.data<T>(), slope.data<T>(), weight1.size(0)};
    products.push_back(input_product<T>(g, weight2, dh));
    products.back().finish = {&MultiplySlope<T>::block, &multiply};
    if (bw.needs(3)) {
        dw2 = Tensor::empty(weight2.shape(), weight2.dtype());
        products.push_back(weight_product<T>(g, hidden, dw2));
    }
    if (bw.needs(4)) {
        db2 = Tensor::empty({weight2.size(0)}, weight2.dtype());
        sums.push_back(bias_sums<T>(g, db2));
    }
    kernels::gemm<T>(products, sums);

    products.clear();
    sums.clear();
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
    const auto& [weight1, bias1, weight2, bias2] = weights;
    Tensor hidden = Tensor::empty(with_last(x.shape(), weight1.size(0)), x.dtype());
    Tensor y = Tensor::empty(with_last(x.shape(), weight2.size(0)), x.dtype());
    Tensor slope;
    if (records({x, weight1, bias1, weight2, bias2, residual})) slope = Tensor::empty(hidden.shape(), x.dtype());
    dispatch_float(x.dtype(), "feed_forward", [&](auto zero) {
        using T = decltype(zero);
        const Activate<T> activate{activation, hidden.data<T>(), slope.defined() ? slope.data<T>() : nullptr,
                                   weight1.size(0)};
        kernels::MatrixProduct<T> first = map_product<T>(x, weight1, bias1, Tensor{}, hidden);
        first.finish = {&Activate<T>::block, &activate};
        kernels::gemm<T>(first);
        kernels::gemm<T>(map_product<T>(hidden, weight2, bias2, residual, y));
    });
    return record("feed_forward", {x, weight1, bias1, weight2, bias2, residual}, y,
                  {x, weight1, weight2, hidden, slope}, [](Backward& bw) {
                      dispatch_float(bw.grad().dtype(), "feed_forward",
                                     [&](auto zero) { feed_forward_backward<decltype(zero)>(bw); });
                  });
}

Tensor feed_forward_unfused(const Tensor& x, const FeedForwardWeights& weights, Activation activation,
                            const Tensor& residual) {
    return linear(activate(linear(x, weights.weight1, weights.bias1), activation), weights.weight2, weights.bias2,
                  residual);
}

}  // namespace headscope
