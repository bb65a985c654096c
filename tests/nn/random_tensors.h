// Random fixtures for the tests of nn/.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "autograd/graph.h"
#include "autograd/ops.h"
#include "nn/module.h"

namespace headscope::nn {

inline Tensor random_tensor(const Shape& shape, unsigned seed, DType dtype = DType::f32, double size = 1) {
    std::mt19937_64 engine(seed);
    std::normal_distribution<double> normal(0, size);
    Tensor x = Tensor::empty(shape, DType::f64);
    for (std::int64_t i = 0; i < x.numel(); ++i) x.data<double>()[i] = normal(engine);
    return x.to(dtype);
}

inline Tensor random_tokens(const Shape& shape, std::int64_t vocab_size, unsigned seed) {
    std::mt19937_64 engine(seed);
    std::uniform_int_distribution<std::int64_t> token(0, vocab_size - 1);
    Tensor x = Tensor::empty(shape, DType::i64);
    for (std::int64_t i = 0; i < x.numel(); ++i) x.data<std::int64_t>()[i] = token(engine);
    return x;
}

/// Random values for every parameter, LayerNorms and biases included, so that no 0 or 1 hides a mistake.
inline void randomise(Module& module, unsigned seed, double size = 0.5) {
    for (Parameter& parameter : module.named_parameters())
        parameter.tensor.copy_(random_tensor(parameter.tensor.shape(), seed++, parameter.tensor.dtype(), size));
}

/// Sum of y times fixed random numbers: a loss whose gradient has no structure to hide behind.
inline Tensor random_loss(const Tensor& y, unsigned seed) {
    return sum(mul(y, random_tensor(y.shape(), seed, y.dtype())));
}

inline ::testing::AssertionResult same_bits(const Tensor& a, const Tensor& b) {
    if (!(a.shape() == b.shape()) || a.dtype() != b.dtype())
        return ::testing::AssertionFailure() << a.shape().str() << " against " << b.shape().str();
    const std::size_t width = size_of(a.dtype());
    for (std::int64_t i = 0; i < a.numel(); ++i) {
        const std::size_t at = static_cast<std::size_t>(i) * width;
        if (std::memcmp(a.bytes() + at, b.bytes() + at, width) != 0)
            return ::testing::AssertionFailure() << "element " << i << " of " << a.shape().str() << " differs";
    }
    return ::testing::AssertionSuccess();
}

/// Largest |a - b|.
inline double distance(const Tensor& a, const Tensor& b) {
    const Tensor x = a.to(DType::f64), y = b.to(DType::f64);
    EXPECT_EQ(x.shape().str(), y.shape().str());
    double largest = 0;
    for (std::int64_t i = 0; i < x.numel(); ++i)
        largest = std::max(largest, std::abs(x.data<double>()[i] - y.data<double>()[i]));
    return largest;
}

/// Largest |x|.
inline double largest(const Tensor& x) { return distance(x, Tensor::zeros(x.shape(), x.dtype())); }

/// The message of the Error that `body` throws; "" when it throws none.
template <class Body>
std::string error_of(Body&& body) {
    try {
        body();
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

}  // namespace headscope::nn
