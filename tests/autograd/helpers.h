// What the tests of the engine share.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>

#include "autograd/error.h"
#include "autograd/parallel.h"
#include "autograd/random.h"
#include "autograd/tensor.h"

namespace headscope::test {

/// Standard normal values; another seed, other values.
inline Tensor random_tensor(const Shape& shape, std::uint64_t seed, DType dtype = DType::f32) {
    Tensor result = Tensor::empty(shape, dtype);
    const RandomStream random(seed, "test");
    dispatch_float(dtype, "random_tensor", [&](auto zero) {
        using T = decltype(zero);
        for (std::int64_t i = 0; i < shape.numel(); ++i)
            result.data<T>()[i] = static_cast<T>(random.normal(static_cast<std::uint64_t>(i)));
    });
    return result;
}

/// The same, as a leaf that collects a gradient.
inline Tensor random_leaf(const Shape& shape, std::uint64_t seed, DType dtype = DType::f32) {
    Tensor result = random_tensor(shape, seed, dtype);
    result.set_requires_grad();
    return result;
}

/// Equal shape, dtype and bytes.
inline bool same_bits(const Tensor& a, const Tensor& b) {
    return a.shape() == b.shape() && a.dtype() == b.dtype() &&
           std::memcmp(a.bytes(), b.bytes(), static_cast<std::size_t>(a.numel()) * size_of(a.dtype())) == 0;
}

/// Largest |a - b| over max(1, largest |b|); infinite when the shapes differ or anything is not finite.
inline double difference(const Tensor& a, const Tensor& b) {
    if (!(a.shape() == b.shape())) return std::numeric_limits<double>::infinity();
    const Tensor wide_a = a.to(DType::f64);
    const Tensor wide_b = b.to(DType::f64);
    double worst = 0;
    double largest = 1;
    for (std::int64_t i = 0; i < a.numel(); ++i) {
        const double x = wide_a.data<double>()[i];
        const double y = wide_b.data<double>()[i];
        if (!std::isfinite(x) || !std::isfinite(y)) return std::numeric_limits<double>::infinity();
        worst = std::max(worst, std::fabs(x - y));
        largest = std::max(largest, std::fabs(y));
    }
    return worst / largest;
}

/// The text of the Error that `body` throws; "no error" when it throws none.
template <class Body>
std::string error_of(Body&& body) {
    try {
        body();
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

/// So many threads while it lives.
class Threads {
public:
    explicit Threads(int count) : before_(num_threads()) { set_num_threads(count); }
    ~Threads() { set_num_threads(before_); }
    Threads(const Threads&) = delete;
    Threads& operator=(const Threads&) = delete;

private:
    int before_;
};

}  // namespace headscope::test
