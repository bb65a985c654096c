#include "autograd/ops/rotary.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "autograd/graph.h"
#include "autograd/parallel.h"

namespace headscope {
namespace {

/// Cosines and sines of every position and plane, [length, half] each. Angles are computed in f64 for either dtype.
template <class T>
struct Angles {
    std::vector<T> cosines, sines;

    Angles(std::int64_t length, std::int64_t half, double base) {
        std::vector<double> speeds;  // angle per position
        for (std::int64_t i = 0; i < half; ++i)
            speeds.push_back(std::pow(base, -static_cast<double>(i) / static_cast<double>(half)));
        for (std::int64_t t = 0; t < length; ++t)
            for (const double speed : speeds) {
                cosines.push_back(static_cast<T>(std::cos(static_cast<double>(t) * speed)));
                sines.push_back(static_cast<T>(std::sin(static_cast<double>(t) * speed)));
            }
    }
};

/// `direction` is 1 forward and -1 backward: the gradient of a turn is turned back.
Tensor turn(const Tensor& x, std::int64_t num_heads, double base, int direction) {
    Tensor y = Tensor::empty(x.shape(), x.dtype());
    const std::int64_t length = x.size(1);
    const std::int64_t half = x.size(2) / num_heads / 2;
    dispatch_float(x.dtype(), "rotary", [&](auto zero) {
        using T = decltype(zero);
        const Angles<T> angles(length, half, base);
        const T* const from = x.data<T>();
        T* const to = y.data<T>();
        const T sign = static_cast<T>(direction);
        // One item of work is one token.
        const std::int64_t grain = std::max<std::int64_t>(1, (1 << 13) / x.size(2));
        parallel_for(x.size(0) * length, grain, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t token = begin; token < end; ++token) {
                const T* const cosine = angles.cosines.data() + token % length * half;
                const T* const sine = angles.sines.data() + token % length * half;
                for (std::int64_t head = 0; head < num_heads; ++head) {
                    const T* const in = from + (token * num_heads + head) * 2 * half;
                    T* const out = to + (token * num_heads + head) * 2 * half;
                    for (std::int64_t i = 0; i < half; ++i) {
                        out[i] = in[i] * cosine[i] - in[i + half] * (sign * sine[i]);
                        out[i + half] = in[i] * (sign * sine[i]) + in[i + half] * cosine[i];
                    }
                }
            }
        });
    });
    return y;
}

}  // namespace

Tensor rotary(const Tensor& x, std::int64_t num_heads, double base) {
    const auto fail = [&](const std::string& what) {
        return Error("rotary: " + what + "; x is " + x.shape().str() + ", num_heads is " + std::to_string(num_heads));
    };
    if (x.rank() != 3) throw fail("x must be [B, T, H*d]");
    if (num_heads < 1 || x.size(2) == 0 || x.size(2) % num_heads != 0)
        throw fail("the number of heads does not divide the last axis");
    if (x.size(2) / num_heads % 2 != 0) throw fail("the width of a head must be even, its columns turn in pairs");
    if (!(base > 0 && std::isfinite(base))) throw fail("base must be positive and finite, not " + std::to_string(base));
    return record("rotary", {x}, turn(x, num_heads, base, 1), {},
                  [num_heads, base](Backward& bw) { bw.set(0, turn(bw.grad(), num_heads, base, -1)); });
}

}  // namespace headscope
