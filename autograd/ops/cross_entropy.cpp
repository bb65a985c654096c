#include "autograd/ops/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

#include "autograd/graph.h"
#include "autograd/kernels/vector_math.h"
#include "autograd/parallel.h"

namespace headscope {
namespace {

constexpr std::int64_t ignored = -1;

struct Sizes {
    std::int64_t rows;
    std::int64_t classes;
    std::int64_t grain;  ///< rows of one chunk
};

Sizes sizes_of(const Tensor& logits) {
    const std::int64_t classes = logits.size(-1);
    return {logits.numel() / classes, classes, std::max<std::int64_t>(1, (1 << 13) / classes)};
}

/// "[1, 3]": the place of a row-major element.
std::string place_of(std::int64_t flat, const Shape& shape) {
    Shape place = shape;
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
        place[axis] = flat % shape[axis];
        flat /= shape[axis];
    }
    return place.str();
}

/// Checks everything before any thread starts; returns how many targets are scored.
std::int64_t check(const Tensor& logits, const Tensor& targets) {
    const auto shapes = [&] {
        return "; logits are " + logits.shape().str() + ", targets are " + targets.shape().str();
    };
    if (!is_floating(logits.dtype()))
        throw Error("cross_entropy: logits must be float32 or float64, not " + std::string(name_of(logits.dtype())));
    if (targets.dtype() != DType::i64)
        throw Error("cross_entropy: targets must be int64, not " + std::string(name_of(targets.dtype())));
    if (logits.rank() == 0 || logits.size(-1) == 0) throw Error("cross_entropy: there are no classes" + shapes());
    const Shape expected(std::span<const std::int64_t>(logits.shape().begin(), logits.shape().end() - 1));
    if (!(targets.shape() == expected))
        throw Error("cross_entropy: targets must have the shape of logits without the last axis" + shapes());

    const std::int64_t classes = logits.size(-1);
    const std::int64_t* target = targets.data<std::int64_t>();
    std::int64_t scored = 0;
    for (std::int64_t row = 0; row < targets.numel(); ++row) {
        if (target[row] < ignored || target[row] >= classes)
            throw Error("cross_entropy: target " + std::to_string(target[row]) + " at " +
                        place_of(row, targets.shape()) + " (row " + std::to_string(row) + ") is outside [-1, " +
                        std::to_string(classes) + ")" + shapes());
        if (target[row] != ignored) ++scored;
    }
    return scored;
}

/// sum over i of exp(x[i] - most); blocks of a fixed size are added in f64.
template <class T>
double sum_exp(const T* x, std::int64_t n, T most) {
    constexpr std::int64_t block = 512;
    double total = 0;
    for (std::int64_t begin = 0; begin < n; begin += block) {
        const T* const from = x + begin;
        total += static_cast<double>(kernels::row_sum_of<T>(std::min(block, n - begin), [=](std::int64_t i,
                                                                                            std::int64_t left) {
            // What does not exist is -inf, whose exponential adds nothing.
            return kernels::fast_exp(kernels::load_first(from + i, left, -std::numeric_limits<T>::infinity()) - most);
        }));
    }
    return total;
}

/// What a row's loss and gradient need besides its logits; [rows, 2] in f64: the largest logit m, and
/// sum exp(logit - m). Kept apart, because m + log(sum) would lose the digits of log(sum) when m is large.
constexpr std::int64_t statistics_per_row = 2;

/// Fills the statistics of all scored rows, and returns the loss of every row (0 where not scored).
template <class T>
void forward_rows(const T* logits, const std::int64_t* targets, double* statistics, double* losses, Sizes sizes) {
    parallel_for(sizes.rows, sizes.grain, [=](std::int64_t begin, std::int64_t end) {
        // Step by step for all rows of the chunk, because within a row each step waits for the one before.
        const auto each_scored = [=](auto step) {
            for (std::int64_t row = begin; row < end; ++row)
                if (targets[row] != ignored)
                    step(row, logits + row * sizes.classes, statistics + row * statistics_per_row);
        };
        std::fill(losses + begin, losses + end, 0.0);
        each_scored([=](std::int64_t, const T* x, double* of_row) {
            of_row[0] = static_cast<double>(kernels::row_max(x, sizes.classes));
        });
        each_scored([=](std::int64_t, const T* x, double* of_row) {
            of_row[1] = sum_exp(x, sizes.classes, static_cast<T>(of_row[0]));
        });
        each_scored([=](std::int64_t row, const T* x, const double* of_row) {
            // logsumexp - x[target] = log(sum) - (x[target] - m)
            losses[row] = std::log(of_row[1]) - (static_cast<double>(x[targets[row]]) - of_row[0]);
        });
    });
}

/// dlogits = (softmax - onehot(target)) * factor in scored rows, 0 in others.
template <class T>
void backward_rows(const T* logits, const std::int64_t* targets, const double* statistics, double factor, T* dlogits,
                   Sizes sizes) {
    parallel_for(sizes.rows, sizes.grain, [=](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) {
            const T* x = logits + row * sizes.classes;
            T* d = dlogits + row * sizes.classes;
            if (targets[row] == ignored) {
                std::fill_n(d, sizes.classes, T{0});
                continue;
            }
            const T most = static_cast<T>(statistics[row * statistics_per_row]);
            const T weight = static_cast<T>(factor / statistics[row * statistics_per_row + 1]);
            kernels::each_vector<T>(sizes.classes, [=](std::int64_t i, std::int64_t left) {
                kernels::store_first(d + i, left,
                                     kernels::fast_exp(kernels::load_first(x + i, left, most) - most) * weight);
            });
            d[targets[row]] -= static_cast<T>(factor);
        }
    });
}

struct Losses {
    Tensor each;        ///< as targets, f64
    Tensor statistics;  ///< [rows, 2], f64
};

Losses forward(const Tensor& logits, const Tensor& targets) {
    const Sizes sizes = sizes_of(logits);
    Losses losses{Tensor::empty(targets.shape(), DType::f64),
                  Tensor::empty({sizes.rows, statistics_per_row}, DType::f64)};
    dispatch_float(logits.dtype(), "cross_entropy", [&](auto zero) {
        forward_rows(logits.data<decltype(zero)>(), targets.data<std::int64_t>(), losses.statistics.data<double>(),
                     losses.each.data<double>(), sizes);
    });
    return losses;
}

}  // namespace

Tensor cross_entropy(const Tensor& logits, const Tensor& targets) {
    const std::int64_t scored = check(logits, targets);
    const Losses losses = forward(logits, targets);
    double total = 0;
    for (const double loss : losses.each.values<double>()) total += loss;
    const double mean = scored == 0 ? 0 : total / static_cast<double>(scored);

    return record("cross_entropy", {logits}, Tensor::full({}, mean, logits.dtype()),
                  {logits, targets, losses.statistics}, [scored](Backward& bw) {
                      const Tensor& x = bw.saved(0);
                      const double factor = scored == 0 ? 0 : bw.grad().item() / static_cast<double>(scored);
                      Tensor dx = Tensor::empty(x.shape(), x.dtype());
                      dispatch_float(x.dtype(), "cross_entropy", [&](auto zero) {
                          using T = decltype(zero);
                          backward_rows(x.data<T>(), bw.saved(1).data<std::int64_t>(), bw.saved(2).data<double>(),
                                        factor, dx.data<T>(), sizes_of(x));
                      });
                      bw.set(0, std::move(dx));
                  });
}

Tensor cross_entropy_each(const Tensor& logits, const Tensor& targets) {
    check(logits, targets);
    return forward(logits, targets).each;
}

}  // namespace headscope
