// gradcheck is only worth its name if it fails: each law of its contract, broken on purpose.
#include <gtest/gtest.h>

#include <algorithm>

#include "autograd/gradcheck.h"
#include "autograd/graph.h"
#include "autograd/ops.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using test::random_tensor;
using test::same_bits;
using Tensors = std::vector<Tensor>;

GradcheckResult check_one(const std::function<Tensor(const Tensor&)>& op, const Shape& shape) {
    return gradcheck([&](const Tensors& x) { return Tensors{op(x[0])}; },
                     {random_tensor(shape, 8, DType::f64).set_requires_grad()});
}

TEST(Gradcheck, FindsWrongFactor) {
    const auto result = check_one(
        [](const Tensor& x) {
            return record("twice", {x}, scale(x.detach(), 2), {},
                          [](Backward& bw) { bw.set(0, scale(bw.grad(), 2.00001)); });
        },
        {2, 3});
    EXPECT_FALSE(result.ok);
    EXPECT_GT(result.worst, 1e-6);
    EXPECT_NE(result.message.find("input 0 [2, 3]"), std::string::npos) << result.message;
}

TEST(Gradcheck, FindsTransposedGradient) {
    const auto result = check_one(
        [](const Tensor& x) {
            return record("same", {x}, x.clone(), {}, [](Backward& bw) { bw.set(0, permute(bw.grad(), {1, 0})); });
        },
        {3, 3});
    EXPECT_FALSE(result.ok);
}

TEST(Gradcheck, FindsMissingBroadcast) {
    const auto stretch = [](const Tensor& x) {  // only the first of two rows gives its gradient
        return record("stretch", {x}, broadcast_to(x.detach(), {2, 3}), {}, [](Backward& bw) {
            Tensor first = Tensor::empty({3}, DType::f64);
            std::copy_n(bw.grad().data<double>(), 3, first.data<double>());
            bw.set(0, first);
        });
    };
    EXPECT_FALSE(check_one(stretch, {3}).ok);
}

TEST(Gradcheck, FindsMissingInput) {
    EXPECT_FALSE(check_one([](const Tensor& x) { return mul(x, x.detach()); }, {2, 3}).ok);
    const auto result = check_one([](const Tensor& x) { return mul(x.detach(), x.detach()); }, {2, 3});
    EXPECT_FALSE(result.ok);
    EXPECT_NE(result.message.find("no output depends"), std::string::npos) << result.message;
}

TEST(Gradcheck, FindsBackwardThatIsNotLinear) {
    const auto result = check_one(
        [](const Tensor& x) {
            return record("same", {x}, x.clone(), {}, [](Backward& bw) { bw.set(0, shift(bw.grad(), 1e-8)); });
        },
        {2, 3});
    EXPECT_FALSE(result.ok);
    EXPECT_NE(result.message.find("linear"), std::string::npos) << result.message;
}

TEST(Gradcheck, FindsBackwardThatForgets) {
    static int calls;
    calls = 0;
    const auto result = check_one(
        [](const Tensor& x) {
            return record("same", {x}, x.clone(), {},
                          [](Backward& bw) { bw.set(0, scale(bw.grad(), 1 + 1e-15 * ++calls)); });
        },
        {2, 3});
    EXPECT_FALSE(result.ok);
    EXPECT_NE(result.message.find("different bits"), std::string::npos) << result.message;
}

// Two outputs, x and 2 x.
template <class BackwardOf>
GradcheckResult check_pair(BackwardOf backward_of) {
    return gradcheck(
        [&](const Tensors& x) {
            return record("pair", {x[0]}, Tensors{x[0].clone(), scale(x[0].detach(), 2)}, {}, backward_of);
        },
        {random_tensor({2, 3}, 9, DType::f64).set_requires_grad()});
}

TEST(Gradcheck, FindsUnusedOutputThatCounts) {
    const auto right = check_pair([](Backward& bw) {
        Tensor total = Tensor::zeros({2, 3}, DType::f64);
        if (bw.grad(0).defined()) total = add(total, bw.grad(0));
        if (bw.grad(1).defined()) total = add(total, scale(bw.grad(1), 2));
        bw.set(0, total);
    });
    EXPECT_TRUE(right.ok) << right.message;
    const auto wrong = check_pair([](Backward& bw) {
        Tensor total = Tensor::zeros({2, 3}, DType::f64);
        if (bw.grad(0).defined()) total = add(total, bw.grad(0));
        total = add(total, bw.grad(1).defined() ? scale(bw.grad(1), 2) : Tensor::full({2, 3}, 1, DType::f64));
        bw.set(0, total);
    });
    EXPECT_FALSE(wrong.ok);
    EXPECT_NE(wrong.message.find("unused"), std::string::npos) << wrong.message;
}

TEST(Gradcheck, LeavesTheInputsAsTheyWere) {
    Tensor x = random_tensor({2, 3}, 10, DType::f64).set_requires_grad();
    const Tensor before = x.clone();
    const Tensor gradient = random_tensor({2, 3}, 11, DType::f64);
    x.set_grad(gradient);
    EXPECT_TRUE(gradcheck([](const Tensors& in) { return Tensors{mul(in[0], in[0])}; }, {x}).ok);
    EXPECT_TRUE(same_bits(x, before));
    EXPECT_TRUE(same_bits(x.grad(), gradient));
}

TEST(Gradcheck, RefusesInputsItCannotCheck) {
    const auto same = [](const Tensors& in) { return in; };
    EXPECT_THROW(gradcheck(same, {random_tensor({2}, 12, DType::f64)}), Error);
    EXPECT_THROW(gradcheck(same, {random_tensor({2}, 13, DType::f32).set_requires_grad()}), Error);
}

}  // namespace
}  // namespace headscope
