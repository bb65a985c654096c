// What the walk back says when it cannot go on, and what it leaves behind.
#include <gtest/gtest.h>

#include <string>

#include "autograd/graph.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/reduction.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using test::difference;
using test::error_of;
using test::random_leaf;
using test::random_tensor;
using test::same_bits;

/// x plus nothing, with a backward of the test's own.
Tensor with_backward(const char* name, const Tensor& x, BackwardFunction function) {
    return record(name, {x}, x.clone(), {}, function);
}

TEST(GraphErrors, NonScalarNeedsAGradient) {
    const Tensor x = random_leaf({2, 3}, 1);
    const Tensor y = scale(x, 2);
    EXPECT_EQ(error_of([&] { backward(y); }),
              "backward: needs a scalar; the output is [2, 3]; reduce it, or pass options.gradient");
    EXPECT_EQ(error_of([&] {
                  backward(y, {.gradient = random_tensor({3, 2}, 2)});
              }),
              "backward: the output is float32 [2, 3], options.gradient float32 [3, 2]");
    EXPECT_EQ(error_of([&] {
                  backward(y, {.gradient = random_tensor({2, 3}, 2, DType::f64)});
              }),
              "backward: the output is float32 [2, 3], options.gradient float64 [2, 3]");
    EXPECT_EQ(error_of([&] { backward(x.detach()); }),
              "backward: the tensor [2, 3] does not depend on anything that requires a gradient; was it made under "
              "NoGrad?");
    const Tensor g = random_tensor({2, 3}, 2);
    backward(y, {.gradient = g});
    EXPECT_TRUE(same_bits(x.grad(), scale(g, 2)));
}

TEST(GraphErrors, WrongGradientsAreNamed) {
    const Tensor x = random_leaf({2, 3}, 1);
    const Tensor g = random_tensor({2, 3}, 2);
    const Tensor misshapen = with_backward("misshapen", x, [](Backward& bw) { bw.set(0, Tensor::zeros({3, 2})); });
    EXPECT_EQ(
        error_of([&] { backward(misshapen, {.gradient = g}); }),
        "backward: the gradient that the backward of `misshapen` gave is float32 [3, 2], it must be float32 [2, 3]");
    const Tensor mistyped = with_backward("mistyped", x, [](Backward& bw) { bw.set(0, bw.grad().to(DType::f64)); });
    EXPECT_EQ(
        error_of([&] { backward(mistyped, {.gradient = g}); }),
        "backward: the gradient that the backward of `mistyped` gave is float64 [2, 3], it must be float32 [2, 3]");
    const Tensor hooked = scale(x, 2);
    Tensor(hooked).register_hook([](const Tensor&) { return Tensor::zeros({6}); });
    EXPECT_EQ(error_of([&] { backward(hooked, {.gradient = g}); }),
              "backward: the gradient that a hook of `scale` gave is float32 [6], it must be float32 [2, 3]");
    EXPECT_EQ(error_of([&] {
                  const Tensor y = scale(x, 2);
                  record("twice", {x}, y, {}, [](Backward&) {});
              }),
              "record: output 0 of `twice` is already part of a graph; an op must return a fresh tensor");
}

TEST(GraphErrors, SecondBackwardExplainsItself) {
    const Tensor x = random_leaf({4}, 1);
    const Tensor y = sum(mul(x, x));
    backward(y);
    const Tensor first = x.grad().clone();
    const std::string text = error_of([&] { backward(y); });
    EXPECT_EQ(text,
              "backward: the graph behind `sum` was freed by an earlier backward; pass retain_graph = true to the "
              "earlier one");
    EXPECT_TRUE(same_bits(x.grad(), first));
}

TEST(GraphErrors, ThrowingBackwardLeavesUsableState) {
    const Tensor x = random_leaf({4}, 1);
    const Tensor g = random_tensor({4}, 2);
    bool angry = true;
    const Tensor y = with_backward("moody", scale(x, 3), [flag = &angry](Backward& bw) {
        if (*flag) throw Error("moody: not now");
        bw.set(0, bw.grad());
    });
    const Tensor z = add(y, x);
    EXPECT_EQ(error_of([&] { backward(z, {.gradient = g, .retain_graph = true}); }), "moody: not now");
    EXPECT_TRUE(grad_enabled());
    Tensor(x).set_grad({});
    angry = false;
    backward(z, {.gradient = g});
    EXPECT_LT(difference(x.grad(), scale(g, 4)), 1e-6);
}

}  // namespace
}  // namespace headscope
