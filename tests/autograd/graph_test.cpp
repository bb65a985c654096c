#include "autograd/graph.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <string>
#include <thread>
#include <vector>

#include "autograd/allocator.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/reduction.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using test::difference;
using test::error_of;
using test::random_leaf;
using test::random_tensor;
using test::same_bits;

const Tensor keep{};  // what a hook returns to leave the gradient alone

TEST(Graph, DiamondAddsBothPaths) {
    const Tensor x = random_leaf({3, 4}, 1, DType::f64);
    const Tensor g = random_tensor({3, 4}, 2, DType::f64);
    const Tensor y = mul(x, x);
    backward(add(mul(y, x), scale(y, 3)), {.gradient = g});  // x^3 + 3 x^2
    const Tensor expected = mul(g, add(scale(mul(x.detach(), x.detach()), 3), scale(x.detach(), 6)));
    EXPECT_LT(difference(x.grad(), expected), 1e-14);
}

TEST(Graph, UsesAreAddedLastUseFirst) {
    const Tensor x = random_leaf({}, 1);
    const Tensor first = scale(x, 1);
    const Tensor second = scale(x, -1e8);
    const Tensor third = scale(x, 1e8);
    backward(add(add(first, second), third));
    EXPECT_EQ(x.grad().item(), 1);  // (1e8 - 1e8) + 1; the other order would round the 1 away
}

TEST(Graph, EngineReducesBroadcasts) {
    const Tensor a = random_leaf({2, 1, 5}, 1, DType::f64);
    const Tensor b = random_leaf({3, 1}, 2, DType::f64);
    const Tensor c = random_leaf({}, 3, DType::f64);
    const Tensor g = random_tensor({2, 3, 5}, 4, DType::f64);
    backward(add(mul(a, b), c), {.gradient = g});
    Tensor da = Tensor::zeros({2, 1, 5}, DType::f64);
    Tensor db = Tensor::zeros({3, 1}, DType::f64);
    Tensor dc = Tensor::zeros({}, DType::f64);
    for (std::int64_t i = 0; i < 2; ++i)
        for (std::int64_t j = 0; j < 3; ++j)
            for (std::int64_t l = 0; l < 5; ++l) {
                da.data<double>()[i * 5 + l] += g.at({i, j, l}) * b.at({j, 0});
                db.data<double>()[j] += g.at({i, j, l}) * a.at({i, 0, l});
                *dc.data<double>() += g.at({i, j, l});
            }
    EXPECT_LT(difference(a.grad(), da), 1e-14);
    EXPECT_LT(difference(b.grad(), db), 1e-14);
    EXPECT_LT(difference(c.grad(), dc), 1e-14);
}

TEST(Graph, BackwardFromALeaf) {
    const Tensor x = random_leaf({2, 3}, 1);
    const Tensor g = random_tensor({2, 3}, 2);
    backward(x, {.gradient = g});
    EXPECT_TRUE(same_bits(x.grad(), g));
    EXPECT_NE(x.grad().bytes(), g.bytes());
}

/// x plus nothing, with a backward of the test's own.
Tensor with_backward(const char* name, const Tensor& x, BackwardFunction function) {
    return record(name, {x}, x.clone(), {}, function);
}

TEST(Graph, SeveralOutputs) {
    const Tensor x = random_leaf({2, 3}, 1);
    const auto two = [&] {
        return record("two", {x}, std::vector<Tensor>{scale(x.detach(), 2), scale(x.detach(), 3)}, {},
                      [](Backward& bw) {
                          if (bw.grad(0).defined()) bw.set(0, scale(bw.grad(0), 2));
                          else bw.set(0, scale(bw.grad(1), 3));
                      });
    };
    const Tensor g = random_tensor({2, 3}, 2);
    backward(two()[1], {.gradient = g});
    EXPECT_TRUE(same_bits(x.grad(), scale(g, 3)));
    Tensor(x).set_grad({});
    const std::vector<Tensor> both = two();
    int calls = 0;
    Tensor(both[1]).register_hook([&](const Tensor&) {
        ++calls;
        return keep;
    });
    backward(both[0], {.gradient = g});
    EXPECT_TRUE(same_bits(x.grad(), scale(g, 2)));
    EXPECT_EQ(calls, 0) << "nothing depends on that output";
}

TEST(Graph, NodesThatNoGradientReachesAreSkipped) {
    const Tensor x = random_leaf({4}, 1);
    const Tensor silent = with_backward("silent", scale(x, 3), [](Backward&) {});
    const Tensor g = random_tensor({4}, 2);
    backward(silent, {.gradient = g});
    EXPECT_FALSE(x.grad().defined());
    backward(add(with_backward("silent", scale(x, 3), [](Backward&) {}), x), {.gradient = g});
    EXPECT_TRUE(same_bits(x.grad(), g));
}

TEST(Graph, NoGradRecordsNothing) {
    const Tensor x = random_leaf({4}, 1);
    {
        const NoGrad outer;
        EXPECT_FALSE(grad_enabled());
        {
            const NoGrad inner;
            EXPECT_FALSE(records({x}));
        }
        EXPECT_FALSE(grad_enabled());
        EXPECT_FALSE(scale(x, 2).requires_grad());
        std::thread([&] { EXPECT_TRUE(scale(x, 2).requires_grad()) << "only this thread stops recording"; }).join();
    }
    EXPECT_TRUE(grad_enabled());
    EXPECT_TRUE(records({x}));
    EXPECT_FALSE(records({x.detach()}));
    EXPECT_TRUE(scale(x, 2).requires_grad());
}

TEST(Graph, DetachCutsThePath) {
    const Tensor x = random_leaf({4}, 1);
    const Tensor g = random_tensor({4}, 2);
    const Tensor y = scale(x, 3);
    backward(mul(y, y.detach()), {.gradient = g});
    EXPECT_TRUE(same_bits(x.grad(), scale(mul(g, y.detach()), 3)));
}

TEST(Graph, NothingIsRecordedInsideBackward) {
    const Tensor x = random_leaf({4}, 1);
    const Tensor y = with_backward("watch", x, [](Backward& bw) {
        EXPECT_FALSE(grad_enabled());
        bw.set(0, bw.grad());
    });
    backward(y, {.gradient = random_tensor({4}, 2)});
    EXPECT_FALSE(x.grad().requires_grad());
    EXPECT_TRUE(grad_enabled());
}

TEST(Graph, RetainedGraphRunsAgain) {
    const Tensor x = random_leaf({4}, 1);
    const Tensor y = sum(mul(mul(x, x), x));
    backward(y, {.gradient = {}, .retain_graph = true});
    const Tensor first = x.grad().clone();
    backward(y);
    EXPECT_TRUE(same_bits(x.grad(), scale(first, 2))) << "leaf gradients add up over backwards";
    EXPECT_NE(error_of([&] { backward(y); }), "no error");
}

TEST(Graph, LeafGradientsNeverAlias) {
    Tensor a = random_leaf({4}, 1);
    Tensor b = random_leaf({4}, 2);
    Tensor g = random_tensor({4}, 3);
    const Tensor before = g.clone();
    backward(add(a, b), {.gradient = g});
    EXPECT_TRUE(same_bits(a.grad(), before));
    a.zero_grad();
    EXPECT_TRUE(same_bits(b.grad(), before));
    b.zero_grad();
    EXPECT_TRUE(same_bits(g, before));
    backward(add(a, b), {.gradient = g});
    backward(add(a, b), {.gradient = g});
    EXPECT_TRUE(same_bits(g, before));
    EXPECT_TRUE(same_bits(a.grad(), scale(g, 2)));
}

TEST(Graph, SavedTensorsAreFreedOnTheWay) {
    constexpr int links = 32;
    constexpr std::size_t bytes = 1 << 16;
    Tensor x = random_leaf({bytes / sizeof(float)}, 1);
    Tensor y = x;
    for (int i = 0; i < links; ++i) y = mul(y, y);
    const std::size_t full = allocator::stats().in_use;
    std::size_t at_the_leaf = 0;
    x.register_hook([&](const Tensor&) {
        at_the_leaf = allocator::stats().in_use;
        return keep;
    });
    allocator::reset_peak();
    const std::size_t before = allocator::stats().in_use;
    backward(y, {.gradient = Tensor::full(x.shape(), 1)});
    EXPECT_LT(at_the_leaf + (links - 8) * bytes, full);
    EXPECT_LT(allocator::stats().peak, before + 6 * bytes);
}

TEST(Graph, SavedOutputMakesNoCycle) {
    const Tensor x = random_leaf({100}, 1);
    const std::size_t before = allocator::stats().in_use;
    { const Tensor y = div(x, x); }  // saves its result
    EXPECT_EQ(allocator::stats().in_use, before);
}

Tensor small_net(const Tensor& x, const Tensor& weight) {
    Tensor y = x;
    for (int i = 0; i < 5; ++i) y = mul(matmul(y, weight), y);
    return sum(y);
}

TEST(Graph, ThreadsHaveTheirOwnGraphs) {
    constexpr std::uint64_t count = 4;
    const auto gradients_of = [](std::uint64_t i) {
        const Tensor x = random_tensor({7, 9}, 10 + i);
        const Tensor weight = random_leaf({9, 9}, 20 + i);
        for (int repeat = 0; repeat < 50; ++repeat) backward(small_net(x, weight));
        return weight.grad();
    };
    std::vector<Tensor> results(count);
    std::vector<std::thread> threads;
    for (std::uint64_t i = 0; i < count; ++i)
        threads.emplace_back([&results, &gradients_of, i] { results[i] = gradients_of(i); });
    for (std::thread& thread : threads) thread.join();
    for (std::uint64_t i = 0; i < count; ++i) EXPECT_TRUE(same_bits(results[i], gradients_of(i)));
}

/// A chain of a million ops: walked back over once, and dropped without that once.
void walk_and_drop_a_million() {
    const Tensor x = random_leaf({}, 1);
    for (const bool walk : {true, false}) {
        Tensor y = x;
        for (int i = 0; i < 1'000'000; ++i) y = scale(y, i % 2 == 0 ? 2 : 0.5);
        if (walk) backward(y);
    }
    EXPECT_EQ(x.grad().item(), 1);
}

// Also run by a test of its own in a process whose main stack is 1 MiB.
TEST(Graph, MillionOps) { walk_and_drop_a_million(); }

TEST(Graph, MillionOpsInAThreadWithASmallStack) {
    pthread_attr_t attributes;
    ASSERT_EQ(pthread_attr_init(&attributes), 0);
    ASSERT_EQ(pthread_attr_setstacksize(&attributes, 1 << 20), 0);
    pthread_t thread{};
    const auto body = [](void*) -> void* {
        walk_and_drop_a_million();
        return nullptr;
    };
    ASSERT_EQ(pthread_create(&thread, &attributes, body, nullptr), 0);
    EXPECT_EQ(pthread_join(thread, nullptr), 0);
    pthread_attr_destroy(&attributes);
}

}  // namespace
}  // namespace headscope
