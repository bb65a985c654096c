#include "autograd/ops/feed_forward.h"

#include <gtest/gtest.h>

#include <vector>

#include "autograd/graph.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using test::error_of;
using test::random_leaf;
using test::random_tensor;
using test::same_bits;
using test::Threads;

using Op = Tensor (*)(const Tensor&, const FeedForwardWeights&, Activation, const Tensor&);

struct Case {
    Shape x_shape;
    std::int64_t hidden, out;
    bool bias, residual;
};

/// The result and the gradients of everything there is.
std::vector<Tensor> run(Op op, const Case& c, Activation activation, DType dtype) {
    const std::int64_t in = c.x_shape.size(-1);
    const Tensor x = random_leaf(c.x_shape, 1, dtype);
    FeedForwardWeights w{random_leaf({c.hidden, in}, 2, dtype), {}, random_leaf({c.out, c.hidden}, 3, dtype), {}};
    if (c.bias) w.bias1 = random_leaf({c.hidden}, 4, dtype), w.bias2 = random_leaf({c.out}, 5, dtype);
    Shape result = c.x_shape;
    result[result.rank() - 1] = c.out;
    const Tensor residual = c.residual ? random_leaf(result, 6, dtype) : Tensor{};
    const Tensor y = op(x, w, activation, residual);
    backward(y, {.gradient = random_tensor(y.shape(), 7, dtype)});
    std::vector<Tensor> all{y, x.grad(), w.weight1.grad(), w.weight2.grad()};
    if (c.bias) all.insert(all.end(), {w.bias1.grad(), w.bias2.grad()});
    if (c.residual) all.push_back(residual.grad());
    return all;
}

TEST(FeedForward, HasTheBitsOfPlainOps) {
    for (const Case& c :
         {Case{{2, 5, 7}, 11, 3, true, true}, Case{{67, 64}, 256, 64, true, true}, Case{{4, 33}, 300, 17, false, false},
          Case{{1, 1}, 1, 1, false, true}, Case{{1100, 20}, 1000, 9, true, true}})
        for (const Activation activation : {Activation::gelu, Activation::relu, Activation::silu})
            for (const DType dtype : {DType::f32, DType::f64}) {
                const std::vector<Tensor> plain = run(feed_forward_unfused, c, activation, dtype);
                for (const int count : {1, 2, 3}) {
                    const Threads threads(count);
                    const std::vector<Tensor> fused = run(feed_forward, c, activation, dtype);
                    ASSERT_EQ(fused.size(), plain.size());
                    for (std::size_t i = 0; i < plain.size(); ++i)
                        EXPECT_TRUE(same_bits(fused[i], plain[i])) << i << " of " << c.x_shape.str();
                }
            }
}

TEST(FeedForward, WithoutGradientsGivesTheSameResult) {
    const Tensor x = random_tensor({3, 20}, 1);
    const FeedForwardWeights w{random_leaf({40, 20}, 2), random_leaf({40}, 3), random_leaf({20, 40}, 4),
                               random_leaf({20}, 5)};
    const Tensor recorded = feed_forward(x, w, Activation::gelu, x);
    const NoGrad no_grad;
    const Tensor plain = feed_forward(x, w, Activation::gelu, x);
    EXPECT_FALSE(plain.requires_grad());
    EXPECT_TRUE(same_bits(plain, recorded));
}

TEST(FeedForward, AsksOnlyForWhatIsWanted) {
    const Tensor x = random_tensor({3, 20}, 1);
    FeedForwardWeights w{random_tensor({40, 20}, 2), random_tensor({40}, 3), random_tensor({20, 40}, 4),
                         random_leaf({20}, 5)};
    backward(feed_forward(x, w, Activation::relu), {.gradient = random_tensor({3, 20}, 6)});
    EXPECT_TRUE(w.bias2.grad().defined());
    EXPECT_FALSE(w.weight1.grad().defined());
}

TEST(FeedForward, MisfitsAreExplained) {
    const Tensor x = random_tensor({2, 5}, 1);
    const FeedForwardWeights w{random_tensor({7, 5}, 2), {}, random_tensor({5, 6}, 3), {}};
    EXPECT_EQ(error_of([&] { feed_forward(x, w, Activation::gelu); }),
              "feed_forward: the last axis of x and of the weight [out, in] must be equal; x is [0, 7], weight is [5, "
              "6]");
    const FeedForwardWeights good{random_tensor({7, 5}, 2), {}, random_tensor({4, 7}, 3), {}};
    EXPECT_EQ(error_of([&] { feed_forward(x, good, Activation::gelu, x); }),
              "feed_forward: the residual must be as the result, float32 [2, 4]; it is float32 [2, 5]");
}

}  // namespace
}  // namespace headscope
