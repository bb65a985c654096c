// Hooks on gradients, of leaves and of results.
#include <gtest/gtest.h>

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

const Tensor keep{};  // what a hook returns to leave the gradient alone

TEST(Hook, OfALeafSeesTheTotalOnce) {
    Tensor x = random_leaf({2, 3}, 1);
    std::vector<Tensor> seen;
    x.register_hook([&](const Tensor& gradient) {
        seen.push_back(gradient);
        return keep;
    });
    const Tensor g = random_tensor({2, 3}, 2);
    backward(add(scale(x, 2), scale(x, 0.5)), {.gradient = g});
    ASSERT_EQ(seen.size(), 1U);
    EXPECT_LT(difference(seen[0], scale(g, 2.5)), 1e-6);
    EXPECT_TRUE(same_bits(seen[0], x.grad()));
    EXPECT_NE(seen[0].bytes(), x.grad().bytes()) << "what a hook kept must not change later";
}

TEST(Hook, OfAResultSeesTheTotalOnce) {
    const Tensor x = random_leaf({4}, 1);
    const Tensor g = random_tensor({4}, 2);
    std::vector<Tensor> seen;
    Tensor loss;
    {
        Tensor y = scale(x, 3);
        y.register_hook([&](const Tensor& gradient) {
            seen.push_back(gradient);
            return keep;
        });
        loss = add(scale(y, 2), scale(y, 0.5));
    }
    backward(loss, {.gradient = g});
    ASSERT_EQ(seen.size(), 1U);
    EXPECT_LT(difference(seen[0], scale(g, 2.5)), 1e-6);
    EXPECT_LT(difference(x.grad(), scale(g, 7.5)), 1e-6);
}

TEST(Hook, RunsInOrderAndReplaces) {
    for (const bool of_leaf : {true, false}) {
        const Tensor x = random_leaf({4}, 1);
        Tensor y = scale(x, 3);
        Tensor target = of_leaf ? x : y;
        std::vector<int> order;
        const auto times = [&](int name, double factor) {
            return [&order, name, factor](const Tensor& gradient) {
                order.push_back(name);
                return factor == 1 ? keep : scale(gradient, factor);
            };
        };
        target.register_hook(times(1, 2));
        const std::uint64_t removed = target.register_hook(times(2, 1000));
        target.register_hook(times(3, 1));
        target.register_hook(times(4, -4));
        target.remove_hook(removed);
        const Tensor g = random_tensor({4}, 2);
        backward(y, {.gradient = g});
        EXPECT_EQ(order, (std::vector<int>{1, 3, 4}));
        EXPECT_LT(difference(x.grad(), scale(g, 3 * 2 * -4)), 1e-6);
    }
}

TEST(Hook, MayRemoveItself) {
    Tensor x = random_leaf({4}, 1);
    int calls = 0;
    std::uint64_t id = 0;
    id = x.register_hook([&](const Tensor&) {
        ++calls;
        x.remove_hook(id);
        return keep;
    });
    const Tensor g = random_tensor({4}, 2);
    int calls_of_next = 0;
    x.register_hook([&](const Tensor&) {
        ++calls_of_next;
        return keep;
    });
    backward(scale(x, 2), {.gradient = g});
    EXPECT_EQ(calls, 1);
    EXPECT_EQ(calls_of_next, 1);
    backward(scale(x, 2), {.gradient = g});
    EXPECT_EQ(calls, 1);
    EXPECT_EQ(calls_of_next, 2);
}

TEST(Hook, ThatThrowsStopsTheWalk) {
    const Tensor x = random_leaf({4}, 1);
    Tensor y = scale(x, 2);
    const std::uint64_t id = y.register_hook([](const Tensor&) -> Tensor { throw Error("enough"); });
    const Tensor g = random_tensor({4}, 2);
    EXPECT_EQ(error_of([&] { backward(y, {.gradient = g}); }), "enough");
    EXPECT_FALSE(x.grad().defined());
    EXPECT_TRUE(grad_enabled());
    y.remove_hook(id);
    backward(y, {.gradient = g});
    EXPECT_TRUE(same_bits(x.grad(), scale(g, 2)));
}

}  // namespace
}  // namespace headscope
