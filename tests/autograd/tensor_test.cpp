#include "autograd/tensor.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "autograd/graph.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/tensor_impl.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using test::error_of;
using test::random_tensor;
using test::same_bits;

TEST(Tensor, Makes) {
    const Tensor zeros = Tensor::zeros({2, 3}, DType::f64);
    EXPECT_EQ(zeros.shape(), (Shape{2, 3}));
    EXPECT_EQ(zeros.rank(), 2);
    EXPECT_EQ(zeros.size(-1), 3);
    EXPECT_EQ(zeros.numel(), 6);
    EXPECT_EQ(zeros.dtype(), DType::f64);
    for (const double value : zeros.values<double>()) EXPECT_EQ(value, 0);
    const Tensor halves = Tensor::full({5}, 2.5);
    for (const float value : halves.values<float>()) EXPECT_EQ(value, 2.5F);
    const Tensor numbers = Tensor::full({5}, -3, DType::i64);
    for (const std::int64_t value : numbers.values<std::int64_t>()) EXPECT_EQ(value, -3);
    const Tensor truths = Tensor::full({5}, 7, DType::boolean);
    for (const std::uint8_t value : truths.values<std::uint8_t>()) EXPECT_EQ(value, 1);
    EXPECT_EQ(Tensor::empty({4, 0}).numel(), 0);
    EXPECT_EQ(Tensor::full({}, 3).item(), 3);
}

TEST(Tensor, FromValues) {
    const Tensor a = Tensor::from({2, 3}, {1, 2, 3, 4, 5, 6});
    EXPECT_EQ(a.dtype(), DType::f32);
    EXPECT_EQ(a.at({1, 0}), 4);
    EXPECT_EQ(a.at({0, 2}), 3);
    const Tensor tokens = Tensor::from<std::int64_t>({2}, std::vector<std::int64_t>{9, -1});
    EXPECT_EQ(tokens.dtype(), DType::i64);
    EXPECT_EQ(tokens.at({1}), -1);
    EXPECT_EQ(Tensor::from({2}, {0, 3}, DType::boolean).at({1}), 1);
    EXPECT_EQ(error_of([] { Tensor::from({2, 2}, {1, 2, 3}); }), "from: 3 values do not fill the shape [2, 2]");
}

TEST(Tensor, WrongAccessIsExplained) {
    const Tensor a = random_tensor({2, 3}, 1);
    EXPECT_EQ(error_of([&] { a.data<double>(); }), "data: asked for float64, but the tensor [2, 3] holds float32");
    EXPECT_EQ(error_of([&] { a.item(); }), "item: needs exactly one element; the tensor is [2, 3]");
    EXPECT_EQ(error_of([&] { a.at({1, 3}); }), "at: the index does not fit; the tensor is [2, 3]");
    EXPECT_EQ(error_of([&] { a.at({-1, 0}); }), "at: the index does not fit; the tensor is [2, 3]");
    EXPECT_EQ(error_of([&] { a.at({1}); }), "at: the index does not fit; the tensor is [2, 3]");
    EXPECT_EQ(error_of([&] { a.at({1, 1, 0}); }), "at: the index does not fit; the tensor is [2, 3]");
}

TEST(Tensor, UndefinedIsNamed) {
    Tensor nothing;
    EXPECT_FALSE(nothing.defined());
    EXPECT_FALSE(nothing.requires_grad());
    EXPECT_EQ(error_of([&] { nothing.shape(); }), "shape: the tensor is undefined");
    EXPECT_EQ(error_of([&] { nothing.data<float>(); }), "data: the tensor is undefined");
    EXPECT_EQ(error_of([&] { nothing.grad(); }), "grad: the tensor is undefined");
    EXPECT_EQ(error_of([&] { backward(nothing); }), "backward: the tensor is undefined");
}

TEST(Tensor, HandlesShareAndClonesDoNot) {
    Tensor a = random_tensor({3, 5}, 1);
    const Tensor before = a.clone();
    Tensor handle = a;
    Tensor detached = a.detach();
    EXPECT_EQ(handle.id(), a.id());
    EXPECT_NE(detached.id(), a.id());
    a.fill_(7);
    EXPECT_EQ(handle.at({2, 4}), 7);
    EXPECT_EQ(detached.at({2, 4}), 7);
    EXPECT_TRUE(same_bits(before, random_tensor({3, 5}, 1)));
    a.copy_(before);
    EXPECT_TRUE(same_bits(detached, before));
}

TEST(Tensor, CopyChecks) {
    Tensor a = Tensor::zeros({2, 3});
    EXPECT_EQ(error_of([&] {
                  a.copy_(Tensor::zeros({3, 2}));
              }),
              "copy_: the target is float32 [2, 3], the source float32 [3, 2]");
    EXPECT_EQ(error_of([&] {
                  a.copy_(Tensor::zeros({2, 3}, DType::f64));
              }),
              "copy_: the target is float32 [2, 3], the source float64 [2, 3]");
}

TEST(Tensor, Converts) {
    const Tensor a = Tensor::from({4}, {1.75, -2.25, 0, 1e-3}, DType::f64);
    EXPECT_EQ(a.to(DType::f32).data<float>()[3], static_cast<float>(1e-3));
    EXPECT_EQ(a.to(DType::i64).at({1}), -2);
    EXPECT_EQ(a.to(DType::boolean).at({2}), 0);
    EXPECT_EQ(a.to(DType::boolean).at({3}), 1);
    const Tensor same = a.to(DType::f64);
    EXPECT_TRUE(same_bits(same, a));
    EXPECT_NE(same.bytes(), a.bytes());
}

TEST(Tensor, OnlyFloatingLeavesCollect) {
    Tensor tokens = Tensor::zeros({3}, DType::i64);
    EXPECT_EQ(error_of([&] { tokens.set_requires_grad(); }), "set_requires_grad: int64 values have no gradient");
    EXPECT_NO_THROW(tokens.set_requires_grad(false));
    Tensor a = random_tensor({3}, 1).set_requires_grad();
    EXPECT_TRUE(a.is_leaf());
    EXPECT_TRUE(a.requires_grad());
    Tensor b = scale(a, 2);
    EXPECT_FALSE(b.is_leaf());
    EXPECT_TRUE(b.requires_grad());
    EXPECT_EQ(error_of([&] { b.set_requires_grad(); }),
              "set_requires_grad: the tensor is the result of `scale`; only a leaf can be asked, detach() it first");
    a.set_requires_grad(false);
    EXPECT_FALSE(scale(a, 2).requires_grad());
    EXPECT_EQ(error_of([&] { a.register_hook([](const Tensor&) { return Tensor{}; }); }),
              "register_hook: no gradient flows to this tensor; call set_requires_grad() first");
}

TEST(Tensor, GradientIsSetZeroedAndDropped) {
    Tensor a = random_tensor({2, 3}, 1).set_requires_grad();
    EXPECT_FALSE(a.grad().defined());
    EXPECT_NO_THROW(a.zero_grad());
    EXPECT_EQ(error_of([&] {
                  a.set_grad(Tensor::zeros({3, 2}));
              }),
              "set_grad: the tensor is float32 [2, 3], the gradient float32 [3, 2]");
    EXPECT_EQ(error_of([&] {
                  a.set_grad(Tensor::zeros({2, 3}, DType::f64));
              }),
              "set_grad: the tensor is float32 [2, 3], the gradient float64 [2, 3]");
    a.set_grad(random_tensor({2, 3}, 2));
    EXPECT_TRUE(same_bits(a.grad(), random_tensor({2, 3}, 2)));
    const std::byte* place = a.grad().bytes();
    a.zero_grad();
    EXPECT_TRUE(same_bits(a.grad(), Tensor::zeros({2, 3})));
    EXPECT_EQ(a.grad().bytes(), place);
    a.set_grad({});
    EXPECT_FALSE(a.grad().defined());
}

TEST(Tensor, HookNumbersDifferAcrossThreads) {
    Tensor a = random_tensor({2}, 1).set_requires_grad();
    const auto count = [](int* calls) {
        return [calls](const Tensor&) {
            ++*calls;
            return Tensor{};
        };
    };
    int here = 0;
    int there = 0;
    std::uint64_t first = 0;
    std::thread([&] { first = a.register_hook(count(&there)); }).join();
    std::uint64_t second = 0;
    std::thread([&] { second = a.register_hook(count(&here)); }).join();
    EXPECT_NE(first, second);
    a.remove_hook(first);
    backward(a, {.gradient = random_tensor({2}, 2)});
    EXPECT_EQ(there, 0);
    EXPECT_EQ(here, 1);
}

TEST(Tensor, ReplacedValuesAreSeenByAllHandles) {
    Tensor leaf = random_tensor({2, 3}, 1).set_requires_grad();
    const Tensor handle = leaf;
    leaf.set_grad(random_tensor({2, 3}, 2));
    const Tensor old_graph = scale(leaf, 2);
    GraphAccess::replace_values(leaf, random_tensor({4}, 3, DType::f64));
    EXPECT_TRUE(same_bits(handle, random_tensor({4}, 3, DType::f64)));
    EXPECT_FALSE(handle.grad().defined());
    EXPECT_TRUE(handle.requires_grad());
    backward(scale(handle, 2), {.gradient = random_tensor({4}, 4, DType::f64)});
    EXPECT_EQ(handle.grad().dtype(), DType::f64);
    EXPECT_EQ(error_of([&] {
                  backward(old_graph, {.gradient = random_tensor({2, 3}, 5)});
              }),
              "backward: the graph was made when this leaf was float32 [2, 3]; it is float64 [4] now; run the forward "
              "pass again");
}

}  // namespace
}  // namespace headscope
