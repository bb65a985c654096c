#include "autograd/ops/arithmetic.h"

#include <gtest/gtest.h>

#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using test::random_tensor;
using test::same_bits;

// The element of `x` that broadcasting puts at `place` of a result of shape `shape`.
double stretched(const Tensor& x, const Shape& shape, std::int64_t place) {
    std::int64_t offset = 0;
    std::int64_t step = 1;
    for (int axis = shape.rank() - 1, own = x.rank() - 1; own >= 0; --axis, --own) {
        const std::int64_t index = place % shape[axis];
        place /= shape[axis];
        if (x.shape()[own] > 1) offset += index * step;
        step *= x.shape()[own];
    }
    return x.dtype() == DType::f32 ? static_cast<double>(x.data<float>()[offset]) : x.data<double>()[offset];
}

struct Pair {
    Shape a;
    Shape b;
    Shape result;
};

const Pair pairs[] = {
    {{}, {}, {}},
    {{1, 1}, {1}, {1, 1}},
    {{2, 3, 5}, {2, 3, 5}, {2, 3, 5}},
    {{2, 3, 5}, {5}, {2, 3, 5}},
    {{5}, {2, 3, 5}, {2, 3, 5}},
    {{2, 3, 5}, {}, {2, 3, 5}},
    {{1}, {2, 3, 5}, {2, 3, 5}},
    {{2, 3, 1}, {2, 3, 5}, {2, 3, 5}},
    {{2, 1, 5}, {3, 1}, {2, 3, 5}},
    {{2, 1, 4, 1, 3, 1}, {7, 1, 5, 1, 2}, {2, 7, 4, 5, 3, 2}},
    {{0, 3}, {3}, {0, 3}},
    {{300, 129}, {129}, {300, 129}},  // more than one chunk, and chunks end within rows
    {{3, 1, 8191}, {2, 1}, {3, 2, 8191}},
    {{40000}, {40000}, {40000}},
    {{40000}, {1}, {40000}},
};

template <class T>
void check_pair(const Pair& pair) {
    const Tensor a = random_tensor(pair.a, 1, dtype_of<T>());
    const Tensor b = random_tensor(pair.b, 2, dtype_of<T>());
    const Tensor results[] = {add(a, b), sub(a, b), mul(a, b), div(a, b)};
    for (const Tensor& result : results) ASSERT_EQ(result.shape().str(), pair.result.str());
    for (std::int64_t i = 0; i < pair.result.numel(); ++i) {
        const T x = static_cast<T>(stretched(a, pair.result, i));
        const T y = static_cast<T>(stretched(b, pair.result, i));
        ASSERT_EQ(results[0].data<T>()[i], x + y);
        ASSERT_EQ(results[1].data<T>()[i], x - y);
        ASSERT_EQ(results[2].data<T>()[i], x * y);
        ASSERT_EQ(results[3].data<T>()[i], x / y);
    }
}

TEST(Arithmetic, BroadcastsByNumpysRule) {
    for (const Pair& pair : pairs) {
        SCOPED_TRACE(pair.a.str() + " and " + pair.b.str());
        check_pair<float>(pair);
        check_pair<double>(pair);
    }
}

TEST(Arithmetic, WithNumbers) {
    const Tensor x = Tensor::from({2, 2}, {1, -2, 3, 0.5});
    EXPECT_TRUE(same_bits(-x, Tensor::from({2, 2}, {-1, 2, -3, -0.5})));
    EXPECT_TRUE(same_bits(x * 2.0, Tensor::from({2, 2}, {2, -4, 6, 1})));
    EXPECT_TRUE(same_bits(x + 1.5, Tensor::from({2, 2}, {2.5, -0.5, 4.5, 2})));
}

TEST(Arithmetic, SameBitsForAnyNumberOfThreads) {
    const Tensor a = random_tensor({300, 129}, 1, DType::f32);
    const Tensor b = random_tensor({129}, 2, DType::f32);
    const test::Threads one(1);
    const Tensor expected = div(a, b);
    for (const int threads : {2, 3, 5}) {
        const test::Threads several(threads);
        EXPECT_TRUE(same_bits(div(a, b), expected));
    }
}

TEST(Arithmetic, RefusesIntegers) {
    EXPECT_THROW(add(Tensor::zeros({2}, DType::i64), Tensor::zeros({2}, DType::i64)), Error);
    EXPECT_THROW(neg(Tensor::zeros({2}, DType::boolean)), Error);
}

}  // namespace
}  // namespace headscope
