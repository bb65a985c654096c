#include "autograd/ops/linear.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <vector>

#include "autograd/graph.h"
#include "autograd/ops/arithmetic.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using test::difference;
using test::error_of;
using test::random_leaf;
using test::random_tensor;
using test::same_bits;
using test::Threads;

struct Case {
    Shape x_shape;
    std::int64_t in, out;
    bool bias;
};

void expect_as_loops(const Case& c, DType dtype, double tolerance) {
    const Tensor x = random_leaf(c.x_shape, 1, dtype);
    const Tensor weight = random_leaf({c.out, c.in}, 2, dtype);
    const Tensor bias = c.bias ? random_leaf({c.out}, 3, dtype) : Tensor{};
    const Tensor y = linear(x, weight, bias);
    const Tensor g = random_tensor(y.shape(), 4, dtype);
    backward(y, {.gradient = g});

    const std::int64_t rows = c.in == 0 ? 1 : x.numel() / c.in;
    const auto zeros = [](const Shape& shape) { return Tensor::zeros(shape, DType::f64); };
    Tensor ey = zeros(y.shape()), ex = zeros(x.shape()), ew = zeros(weight.shape()), eb = zeros({c.out});
    const Tensor wide_x = x.to(DType::f64), wide_w = weight.to(DType::f64), wide_g = g.to(DType::f64);
    for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t o = 0; o < c.out; ++o) {
            double& value = ey.data<double>()[i * c.out + o];
            const double gradient = wide_g.data<double>()[i * c.out + o];
            if (c.bias) value = bias.at({o});
            eb.data<double>()[o] += gradient;
            for (std::int64_t j = 0; j < c.in; ++j) {
                value += wide_x.data<double>()[i * c.in + j] * wide_w.at({o, j});
                ex.data<double>()[i * c.in + j] += gradient * wide_w.at({o, j});
                ew.data<double>()[o * c.in + j] += gradient * wide_x.data<double>()[i * c.in + j];
            }
        }
    EXPECT_LT(difference(y, ey), tolerance);
    EXPECT_LT(difference(x.grad(), ex), tolerance);
    EXPECT_LT(difference(weight.grad(), ew), tolerance);
    if (c.bias) {
        EXPECT_LT(difference(bias.grad(), eb), tolerance);
    }
}

TEST(Linear, IsTheAffineMap) {
    for (const Case& c :
         {Case{{2, 5, 7}, 7, 3, true}, Case{{2, 5, 7}, 7, 3, false}, Case{{7}, 7, 3, true},
          Case{{67, 300}, 300, 41, true}, Case{{1, 1}, 1, 1, true}, Case{{2, 3, 2, 3, 2, 5}, 5, 4, true}}) {
        expect_as_loops(c, DType::f64, 1e-13);
        expect_as_loops(c, DType::f32, 2e-6);
    }
}

TEST(Linear, EmptySizes) {
    expect_as_loops({{0, 7}, 7, 3, true}, DType::f64, 1e-13);
    expect_as_loops({{5, 7}, 7, 0, true}, DType::f64, 1e-13);
    const Tensor bias = random_tensor({3}, 1);
    const Tensor y = linear(Tensor::zeros({2, 0}), Tensor::zeros({3, 0}), bias);
    EXPECT_EQ(y.at({1, 2}), bias.at({2}));
}

TEST(Linear, SameBitsForAnyNumberOfThreads) {
    const auto run = [](int count) {
        const Threads threads(count);
        const Tensor x = random_leaf({3, 67, 129}, 1);
        const Tensor weight = random_leaf({141, 129}, 2);
        const Tensor bias = random_leaf({141}, 3);
        const Tensor y = linear(x, weight, bias);
        backward(y, {.gradient = random_tensor(y.shape(), 4)});
        return std::vector<Tensor>{y, x.grad(), weight.grad(), bias.grad()};
    };
    const std::vector<Tensor> expected = run(1);
    for (const int count : {2, 3, 5}) {
        const std::vector<Tensor> results = run(count);
        for (std::size_t i = 0; i < results.size(); ++i) EXPECT_TRUE(same_bits(results[i], expected[i])) << i;
    }
}

TEST(Linear, AResidualIsAddedAtTheEnd) {
    const Tensor x = random_leaf({2, 5, 30}, 1), weight = random_leaf({19, 30}, 2), bias = random_leaf({19}, 3);
    const Tensor residual = random_leaf({2, 5, 19}, 4), g = random_tensor({2, 5, 19}, 5);
    const Tensor y = linear(x, weight, bias, residual);
    EXPECT_TRUE(same_bits(y, linear(x, weight, bias) + residual));
    backward(y, {.gradient = g});
    EXPECT_TRUE(same_bits(residual.grad(), g));
    EXPECT_EQ(error_of([&] {
                  linear(x, weight, bias, random_tensor({5, 19}, 6));
              }),
              "linear: the residual must be as the result, float32 [2, 5, 19]; it is float32 [5, 19]");
}

void expect_three_as_one_by_one(bool bias, DType dtype, double tolerance) {
    const auto leaves = [&](std::uint64_t seed) {
        std::array<Tensor, 3> result;
        const std::int64_t out[] = {19, 19, 7};
        for (std::size_t i = 0; i < 3; ++i)
            result[i] = random_leaf(seed == 3 ? Shape{out[i]} : Shape{out[i], 30}, seed + 10 * i, dtype);
        return result;
    };
    const Tensor x = random_leaf({2, 67, 30}, 1, dtype), again = random_leaf({2, 67, 30}, 1, dtype);
    const std::array<Tensor, 3> w = leaves(2), v = leaves(2);
    const std::array<Tensor, 3> b = bias ? leaves(3) : std::array<Tensor, 3>{};
    const std::array<Tensor, 3> c = bias ? leaves(3) : std::array<Tensor, 3>{};
    const std::array<Tensor, 3> y = linear_three(x, w, b);
    for (std::size_t i = 0; i < 3; ++i) {
        const Tensor alone = linear(again, v[i], c[i]);
        EXPECT_TRUE(same_bits(y[i], alone)) << i;
        const Tensor g = random_tensor(alone.shape(), 50 + i, dtype);
        backward(y[i], {.gradient = g, .retain_graph = true});
        backward(alone, {.gradient = g});
        EXPECT_TRUE(same_bits(w[i].grad(), v[i].grad())) << i;
        if (bias) {
            EXPECT_TRUE(same_bits(b[i].grad(), c[i].grad())) << i;
        }
    }
    EXPECT_LT(difference(x.grad(), again.grad()), tolerance);
}

TEST(Linear, ThreeInOnePassAreAsOneByOne) {
    expect_three_as_one_by_one(true, DType::f32, 1e-6);
    expect_three_as_one_by_one(false, DType::f64, 1e-14);
}

TEST(Linear, ARowDoesNotDependOnItsPlace) {
    const Tensor weight = random_tensor({13, 50}, 1);
    const Tensor bias = random_tensor({13}, 2);
    const Tensor row = random_tensor({1, 50}, 3);
    Tensor many = Tensor::empty({101, 50});
    for (std::int64_t i = 0; i < 101; ++i) std::copy_n(row.data<float>(), 50, many.data<float>() + i * 50);
    const Tensor one = linear(row, weight, bias);
    const Tensor all = linear(many, weight, bias);
    for (std::int64_t i = 0; i < 101; ++i)
        for (std::int64_t j = 0; j < 13; ++j) ASSERT_EQ(all.at({i, j}), one.at({0, j}));
}

TEST(Linear, MisfitsAreExplained) {
    const Tensor x = random_tensor({2, 10, 512}, 1);
    EXPECT_EQ(error_of([&] {
                  linear(x, random_tensor({64, 256}, 2));
              }),
              "linear: the last axis of x and of the weight [out, in] must be equal; x is [2, 10, 512], weight is [64, "
              "256]");
    EXPECT_EQ(
        error_of([&] { linear(x, random_tensor({512}, 2)); }),
        "linear: the last axis of x and of the weight [out, in] must be equal; x is [2, 10, 512], weight is [512]");
    EXPECT_EQ(error_of([&] {
                  linear(Tensor::full({}, 1), random_tensor({3, 1}, 2));
              }),
              "linear: the last axis of x and of the weight [out, in] must be equal; x is [], weight is [3, 1]");
    EXPECT_EQ(error_of([&] {
                  linear(x, random_tensor({64, 512}, 2), random_tensor({512}, 3));
              }),
              "linear: the bias must be [64], as many as the weight [64, 512] has rows; it is [512]");
    EXPECT_EQ(error_of([&] {
                  linear(x, random_tensor({64, 512}, 2, DType::f64));
              }),
              "linear: x, weight and bias must share a dtype; x is float32, weight is float64");
    EXPECT_EQ(error_of([&] {
                  linear(Tensor::zeros({2, 3}, DType::i64), Tensor::zeros({4, 3}, DType::i64));
              }),
              "linear: needs float32 or float64 values, not int64");
}

}  // namespace
}  // namespace headscope
