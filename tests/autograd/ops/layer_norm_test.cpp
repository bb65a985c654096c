#include "autograd/ops/layer_norm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "autograd/graph.h"
#include "autograd/random.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

Tensor random_tensor(const Shape& shape, DType dtype, const char* stream, double centre = 0, double spread = 1) {
    Tensor x = Tensor::empty(shape, DType::f64);
    const RandomStream random(14, stream);
    for (std::int64_t i = 0; i < x.numel(); ++i)
        x.data<double>()[i] = centre + spread * random.normal(static_cast<std::uint64_t>(i));
    return x.to(dtype);
}

struct Pass {
    std::vector<Tensor> tensors;  // y, dx, dweight, dbias
};

using Op = Tensor (*)(const Tensor&, const Tensor&, const Tensor&, double);

Pass run(Op op, const Shape& shape, DType dtype, double centre = 0) {
    Tensor x = random_tensor(shape, dtype, "x", centre, 2);
    Tensor weight = random_tensor({shape.size(-1)}, dtype, "weight", 1);
    Tensor bias = random_tensor({shape.size(-1)}, dtype, "bias");
    for (Tensor* leaf : {&x, &weight, &bias}) leaf->set_requires_grad();
    const Tensor y = op(x, weight, bias, 1e-5);
    backward(y, {.gradient = random_tensor(shape, dtype, "dy")});
    return {{y, x.grad(), weight.grad(), bias.grad()}};
}

void expect_near(const Pass& got, const Pass& expected, double tolerance) {
    for (std::size_t t = 0; t < got.tensors.size(); ++t) {
        ASSERT_EQ(got.tensors[t].shape(), expected.tensors[t].shape());
        const Tensor a = got.tensors[t].to(DType::f64);
        const Tensor b = expected.tensors[t].to(DType::f64);
        for (std::size_t i = 0; i < a.values<double>().size(); ++i) {
            const double exact = b.values<double>()[i];
            ASSERT_NEAR(a.values<double>()[i], exact, tolerance * (1 + std::fabs(exact)))
                << "tensor " << t << ", element " << i;
        }
    }
}

TEST(LayerNorm, FusedEqualsUnfused) {
    for (const Shape& shape :
         {Shape{2, 5, 12}, Shape{3, 1}, Shape{7, 50}, Shape{17}, Shape{130, 33}, Shape{2, 3, 4, 64}}) {
        const Pass exact = run(layer_norm_unfused, shape, DType::f64);
        expect_near(run(layer_norm, shape, DType::f64), exact, 1e-12);
        // One element a row has variance 0: 1/sqrt(eps) makes single precision meaningless there.
        if (shape.size(-1) > 1) expect_near(run(layer_norm, shape, DType::f32), exact, 2e-5);
    }
}

TEST(LayerNorm, RowsAreNormal) {
    const Tensor x = random_tensor({4, 50}, DType::f64, "x", 3, 2);
    const Tensor y = layer_norm(x, Tensor::full({50}, 1, DType::f64), Tensor::zeros({50}, DType::f64), 0);
    for (std::size_t row = 0; row < 4; ++row) {
        double sum = 0;
        double squares = 0;
        for (std::size_t i = 0; i < 50; ++i) {
            const double v = y.values<double>()[row * 50 + i];
            sum += v;
            squares += v * v;
        }
        EXPECT_NEAR(sum / 50, 0, 1e-14);
        EXPECT_NEAR(squares / 50, 1, 1e-14);
    }
}

TEST(LayerNorm, ALargeMeanCostsNoDigits) {
    // 4096 + k / 16 is exact in float, and so is its mean; E[x^2] - E[x]^2 would lose every digit of the variance.
    Tensor x = Tensor::empty({1, 16});
    Tensor near_zero = Tensor::empty({1, 16});
    for (int i = 0; i < 16; ++i) {
        near_zero.data<float>()[i] = static_cast<float>((i * i) % 16) / 16;
        x.data<float>()[i] = 4096 + near_zero.data<float>()[i];
    }
    const Tensor weight = Tensor::full({16}, 1);
    const Tensor bias = Tensor::zeros({16});
    const Tensor a = layer_norm(x, weight, bias);
    const Tensor b = layer_norm(near_zero, weight, bias);
    for (std::size_t i = 0; i < 16; ++i) EXPECT_NEAR(a.values<float>()[i], b.values<float>()[i], 1e-5);
}

TEST(LayerNorm, EqualRowsGiveEqualBitsAnywhere) {
    const std::int64_t size = 13;
    const Tensor row = random_tensor({size}, DType::f32, "x");
    const Tensor dy_row = random_tensor({size}, DType::f32, "dy");
    Tensor x = Tensor::empty({9, size});
    Tensor dy = Tensor::empty({9, size});
    for (std::int64_t i = 0; i < 9 * size; ++i) {
        x.data<float>()[i] = row.values<float>()[static_cast<std::size_t>(i % size)];
        dy.data<float>()[i] = dy_row.values<float>()[static_cast<std::size_t>(i % size)];
    }
    x.set_requires_grad();
    const Tensor y = layer_norm(x, random_tensor({size}, DType::f32, "w"), random_tensor({size}, DType::f32, "b"));
    backward(y, {.gradient = dy});
    for (std::size_t i = 0; i < static_cast<std::size_t>(9 * size); ++i) {
        EXPECT_EQ(y.values<float>()[i], y.values<float>()[i % static_cast<std::size_t>(size)]);
        EXPECT_EQ(x.grad().values<float>()[i], x.grad().values<float>()[i % static_cast<std::size_t>(size)]);
    }
}

TEST(LayerNorm, SameBitsForAnyNumberOfThreads) {
    Pass expected;
    for (const int threads : {1, 2, 3, 5}) {
        const test::Threads limit(threads);
        const Pass got = run(layer_norm, {11, 97, 50}, DType::f32);
        if (threads == 1) expected = got;
        for (std::size_t t = 0; t < got.tensors.size(); ++t) {
            const auto a = got.tensors[t].values<float>();
            const auto b = expected.tensors[t].values<float>();
            EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin(), b.end())) << "tensor " << t << ", " << threads;
        }
    }
}

TEST(LayerNorm, NamesWhatIsWrong) {
    const Tensor x = Tensor::zeros({2, 5});
    const Tensor good = Tensor::zeros({5});
    EXPECT_THROW(layer_norm(Tensor::zeros({}), good, good), Error);
    EXPECT_THROW(layer_norm(x, good, Tensor::zeros({5}, DType::f64)), Error);
    EXPECT_THROW(layer_norm(x, good, good, -1), Error);
    EXPECT_EQ(test::error_of([&] { layer_norm(x, Tensor::zeros({4}), good); }),
              "layer_norm: weight and bias must have the size of the last axis; x is [2, 5], weight is [4], "
              "bias is [5]");
}

}  // namespace
}  // namespace headscope
