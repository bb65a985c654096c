#include "autograd/ops/linear.h"

#include <vector>

#include "autograd/graph.h"
#include "autograd/ops/linear_products.h"

namespace headscope {

void check_linear(const char* op, const Tensor& x, const Tensor& weight, const Tensor& bias) {
    const std::string name = op;
    const bool fits = weight.rank() == 2 && x.rank() >= 1 && x.size(-1) == weight.size(1);
    if (!fits)
        throw Error(name + ": the last axis of x and of the weight [out, in] must be equal; x is " + x.shape().str() +
                    ", weight is " + weight.shape().str());
    if (bias.defined() && !(bias.shape() == Shape{weight.size(0)}))
        throw Error(name + ": the bias must be [" + std::to_string(weight.size(0)) + "], as many as the weight " +
                    weight.shape().str() + " has rows; it is " + bias.shape().str());
    if (x.dtype() != weight.dtype() || (bias.defined() && bias.dtype() != x.dtype()))
        throw Error(name + ": x, weight and bias must share a dtype; x is " + std::string(name_of(x.dtype())) +
                    ", weight is " + std::string(name_of(weight.dtype())));
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& residual) {
    check_linear("linear", x, weight, bias);
    Tensor y = Tensor::empty(with_last(x.shape(), weight.size(0)), x.dtype());
    if (residual.defined() && (!(residual.shape() == y.shape()) || residual.dtype() != y.dtype()))
        throw Error("linear: the residual must be as the result, " + std::string(name_of(y.dtype())) + " " +
                    y.shape().str() + "; it is " + std::string(name_of(residual.dtype())) + " " +
                    residual.shape().str());
    dispatch_float(x.dtype(), "linear", [&](auto zero) {
        using T = decltype(zero);
        kernels::gemm<T>(map_product<T>(x, weight, bias, residual, y));
    });
    return record("linear", {x, weight, bias, residual}, y, {x, weight}, [](Backward& bw) {
        const Tensor& g = bw.grad();  // [..., out]
        const Tensor& x = bw.saved(0);
        const Tensor& weight = bw.saved(1);
        Tensor dx, dw, db;
        dispatch_float(g.dtype(), "linear", [&](auto zero) {
            using T = decltype(zero);
            std::vector<kernels::MatrixProduct<T>> products;
            std::vector<kernels::ColumnSums<T>> sums;
            if (bw.needs(0)) {
                dx = Tensor::empty(x.shape(), x.dtype());
                products.push_back(input_product<T>(g, weight, dx));
            }
            if (bw.needs(1)) {
                dw = Tensor::empty(weight.shape(), weight.dtype());
                products.push_back(weight_product<T>(g, x, dw));
            }
            if (bw.needs(2)) {
                db = Tensor::empty({weight.size(0)}, weight.dtype());
                sums.push_back(bias_sums<T>(g, db));
            }
            kernels::gemm<T>(products, sums);
        });
        if (bw.needs(0)) bw.set(0, std::move(dx));
        if (bw.needs(1)) bw.set(1, std::move(dw));
        if (bw.needs(2)) bw.set(2, std::move(db));
        if (bw.needs(3)) bw.set(3, g);
    });
}

std::array<Tensor, 3> linear_three(const Tensor& x, const std::array<Tensor, 3>& weights,
                                   const std::array<Tensor, 3>& biases) {
    std::vector<Tensor> y;
    for (std::size_t i = 0; i < 3; ++i) {
        check_linear("linear_three", x, weights[i], biases[i]);
        y.push_back(Tensor::empty(with_last(x.shape(), weights[i].size(0)), x.dtype()));
    }
    dispatch_float(x.dtype(), "linear_three", [&](auto zero) {
        using T = decltype(zero);
        std::vector<kernels::MatrixProduct<T>> products;
        for (std::size_t i = 0; i < 3; ++i)
            products.push_back(map_product<T>(x, weights[i], biases[i], Tensor{}, y[i]));
        kernels::gemm<T>(products);
    });
    y = record("linear_three", {x, weights[0], weights[1], weights[2], biases[0], biases[1], biases[2]}, std::move(y),
               {x, weights[0], weights[1], weights[2]}, [](Backward& bw) {
                   const Tensor& x = bw.saved(0);
                   Tensor dx, dw[3], db[3];
                   if (bw.needs(0)) dx = Tensor::empty(x.shape(), x.dtype());
                   dispatch_float(x.dtype(), "linear_three", [&](auto zero) {
                       using T = decltype(zero);
                       std::vector<kernels::MatrixProduct<T>> products;
                       std::vector<kernels::ColumnSums<T>> sums;
                       kernels::MatrixProduct<T> to_x{};
                       to_x.m = rows_of(x.shape());
                       to_x.n = to_x.ldc = x.size(-1);
                       std::size_t terms = 0;
                       for (int i = 0; i < 3; ++i) {
                           const Tensor& g = bw.grad(i);
                           if (!g.defined()) continue;  // nothing depends on this map
                           const Tensor& weight = bw.saved(1 + i);
                           to_x.terms[terms++] = input_term<T>(g, weight);
                           if (bw.needs(1 + i)) {
                               dw[i] = Tensor::empty(weight.shape(), weight.dtype());
                               products.push_back(weight_product<T>(g, x, dw[i]));
                           }
                           if (bw.needs(4 + i)) {
                               db[i] = Tensor::empty({weight.size(0)}, weight.dtype());
                               sums.push_back(bias_sums<T>(g, db[i]));
                           }
                       }
                       if (bw.needs(0)) {
                           to_x.c = dx.data<T>();
                           products.insert(products.begin(), to_x);
                       }
                       kernels::gemm<T>(products, sums);
                   });
                   bw.set(0, std::move(dx));
                   for (int i = 0; i < 3; ++i) {
                       bw.set(1 + i, std::move(dw[i]));
                       bw.set(4 + i, std::move(db[i]));
                   }
               });
    return {y[0], y[1], y[2]};
}

}  // namespace headscope
