#include "autograd/ops/rms_norm.h"

#include <gtest/gtest.h>

#include <cmath>

#include "autograd/graph.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using test::difference;
using test::random_leaf;
using test::random_tensor;

TEST(RmsNorm, FollowsTheFormula) {
    const Tensor x = random_tensor({2, 3, 7}, 1, DType::f64);
    const Tensor weight = random_tensor({7}, 2, DType::f64);
    for (const double eps : {0.0, 1e-5, 0.7}) {
        const Tensor y = rms_norm(x, weight, eps);
        for (std::int64_t b = 0; b < 2; ++b)
            for (std::int64_t t = 0; t < 3; ++t) {
                double square = 0;
                for (std::int64_t i = 0; i < 7; ++i) square += x.at({b, t, i}) * x.at({b, t, i}) / 7;
                for (std::int64_t i = 0; i < 7; ++i)
                    EXPECT_NEAR(y.at({b, t, i}), x.at({b, t, i}) / std::sqrt(square + eps) * weight.at({i}), 1e-14);
            }
    }
}

TEST(RmsNorm, FusedEqualsUnfused) {
    for (const DType dtype : {DType::f32, DType::f64})
        for (const Shape& shape : {Shape{7}, Shape{3, 1}, Shape{2, 3, 5}, Shape{300, 65}}) {
            const Tensor start = random_tensor(shape, 1, dtype);
            const Tensor start_weight = random_tensor({shape.size(-1)}, 2, dtype);
            const Tensor g = random_tensor(shape, 3, dtype);
            Tensor x[2], w[2], y[2];
            for (int i = 0; i < 2; ++i) {
                x[i] = start.clone().set_requires_grad();
                w[i] = start_weight.clone().set_requires_grad();
                y[i] = i == 0 ? rms_norm(x[i], w[i]) : rms_norm_unfused(x[i], w[i]);
                backward(y[i], {.gradient = g});
            }
            // An only element is divided by its own size, so that its gradient is the small rest of two large terms.
            const double tolerance = (dtype == DType::f32 ? 2e-6 : 1e-14) * (shape.size(-1) == 1 ? 10 : 1);
            EXPECT_LT(difference(y[0], y[1]), tolerance) << shape.str();
            EXPECT_LT(difference(x[0].grad(), x[1].grad()), tolerance) << shape.str();
            EXPECT_LT(difference(w[0].grad(), w[1].grad()), tolerance) << shape.str();
        }
}

TEST(RmsNorm, RowOfZeros) {
    Tensor x = Tensor::zeros({1, 3}, DType::f64).set_requires_grad();
    const Tensor y = rms_norm(x, Tensor::full({3}, 2, DType::f64), 0.25);
    backward(y, {.gradient = Tensor::from({1, 3}, {1, 2, 3}, DType::f64)});
    for (std::int64_t i = 0; i < 3; ++i) {
        EXPECT_EQ(y.at({0, i}), 0);
        EXPECT_EQ(x.grad().at({0, i}), 4.0 * static_cast<double>(i + 1));  // weight / sqrt(eps)
    }
}

}  // namespace
}  // namespace headscope
