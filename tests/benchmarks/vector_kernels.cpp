// Micro-benchmarks of the kernels that work on rows, on one thread, with data in cache:
//   build/release/headscope_bench_kernels --benchmark_filter=softmax
// `ns_per_element` is time over elements; bytes per second count what a kernel must read and write at least.
#include <benchmark/benchmark.h>

#include <cstdint>

#include "autograd/graph.h"
#include "autograd/kernels/activations.h"
#include "autograd/kernels/vector_math.h"
#include "autograd/ops.h"
#include "autograd/parallel.h"
#include "autograd/random.h"

namespace {

using namespace headscope;

Tensor normal(const Shape& shape, const char* stream) {
    Tensor x = Tensor::empty(shape);
    const RandomStream random(1, stream);
    for (std::int64_t i = 0; i < x.numel(); ++i)
        x.data<float>()[i] = static_cast<float>(random.normal(static_cast<std::uint64_t>(i)));
    return x;
}

/// `streams` = floats moved per element.
void report(benchmark::State& state, std::int64_t elements, std::int64_t streams) {
    const auto total = static_cast<double>(state.iterations() * elements);
    state.SetBytesProcessed(state.iterations() * elements * streams * static_cast<std::int64_t>(sizeof(float)));
    state.counters["ns_per_element"] =
        benchmark::Counter(total * 1e-9, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

constexpr std::int64_t cached = 4096;  // elements: three arrays fit the first cache

void activation(benchmark::State& state, Activation which, bool with_slope) {
    const Tensor x = normal({cached}, "x");
    Tensor y = Tensor::empty(x.shape());
    Tensor slope = Tensor::empty(x.shape());
    for (auto _ : state) {
        if (with_slope)
            kernels::activate_with_slope(which, x.data<float>(), y.data<float>(), slope.data<float>(), cached);
        else kernels::activate(which, x.data<float>(), y.data<float>(), cached);
        benchmark::ClobberMemory();
    }
    report(state, cached, with_slope ? 3 : 2);
}
BENCHMARK_CAPTURE(activation, gelu, Activation::gelu, false);
BENCHMARK_CAPTURE(activation, gelu_and_slope, Activation::gelu, true);
BENCHMARK_CAPTURE(activation, relu_and_slope, Activation::relu, true);
BENCHMARK_CAPTURE(activation, silu_and_slope, Activation::silu, true);

/// Runs `kernel(row, n)` on all rows of `cached` elements.
template <class Kernel>
void rows(benchmark::State& state, std::int64_t streams, Kernel kernel) {
    const std::int64_t n = state.range(0);
    Tensor x = normal({cached / n, n}, "x");
    for (auto _ : state) {
        for (std::int64_t row = 0; row < x.size(0); ++row) kernel(x.data<float>() + row * n, n);
        benchmark::ClobberMemory();
    }
    report(state, x.numel(), streams);
}

void row_max(benchmark::State& state) {
    rows(state, 1, [](float* x, std::int64_t n) { benchmark::DoNotOptimize(kernels::row_max(x, n)); });
}
void row_sum(benchmark::State& state) {
    rows(state, 1, [](float* x, std::int64_t n) { benchmark::DoNotOptimize(kernels::row_sum(x, n)); });
}
void row_dot(benchmark::State& state) {
    rows(state, 1, [](float* x, std::int64_t n) { benchmark::DoNotOptimize(kernels::row_dot(x, x, n)); });
}
void softmax_row(benchmark::State& state) {
    rows(state, 2, [](float* x, std::int64_t n) { kernels::softmax_row(x, n, 0.5F); });
}
BENCHMARK(row_max)->Arg(16)->Arg(64)->Arg(256)->Arg(1024);
BENCHMARK(row_sum)->Arg(16)->Arg(64)->Arg(256)->Arg(1024);
BENCHMARK(row_dot)->Arg(16)->Arg(64)->Arg(256)->Arg(1024);
BENCHMARK(softmax_row)->Arg(16)->Arg(48)->Arg(64)->Arg(256)->Arg(1024);

void keep(benchmark::State& state) {
    const RandomStream random(1, "keep");
    Tensor y = Tensor::empty({cached});
    for (auto _ : state) {
        random.keep(0, cached, 0.1, 1.0F, y.data<float>());
        benchmark::ClobberMemory();
    }
    report(state, cached, 1);
}
BENCHMARK(keep);

/// Forward and backward of an op on x [rows, size].
template <class Op>
void step(benchmark::State& state, std::int64_t streams, Op op) {
    set_num_threads(1);
    Tensor x = normal({state.range(0), state.range(1)}, "x").set_requires_grad();
    Tensor dy;
    for (auto _ : state) {
        x.set_grad({});
        const Tensor y = op(x);
        if (y.rank() > 0 && !dy.defined()) dy = normal(y.shape(), "dy");
        backward(y, {.gradient = dy});
    }
    report(state, x.numel(), streams);
}

void layer_norm_step(benchmark::State& state) {
    Tensor weight = normal({state.range(1)}, "weight").set_requires_grad();
    Tensor bias = normal({state.range(1)}, "bias").set_requires_grad();
    step(state, 5, [&](const Tensor& x) { return layer_norm(x, weight, bias); });
}
void rms_norm_step(benchmark::State& state) {
    Tensor weight = normal({state.range(1)}, "weight").set_requires_grad();
    step(state, 5, [&](const Tensor& x) { return rms_norm(x, weight); });
}
void dropout_step(benchmark::State& state) {
    const RandomStream random(1, "dropout");
    step(state, 4, [&](const Tensor& x) { return dropout(x, 0.1, random); });
}
void cross_entropy_step(benchmark::State& state) {
    Tensor targets = Tensor::zeros({state.range(0)}, DType::i64);
    for (std::int64_t i = 0; i < targets.numel(); ++i) targets.data<std::int64_t>()[i] = i % state.range(1);
    step(state, 3, [&](const Tensor& x) { return cross_entropy(x, targets); });
}
// Rows and sizes as they occur in training.
BENCHMARK(layer_norm_step)->Args({1536, 64})->Args({2048, 256})->Args({1024, 768})->Unit(benchmark::kMicrosecond);
BENCHMARK(rms_norm_step)->Args({1536, 64})->Args({2048, 256})->Args({1024, 768})->Unit(benchmark::kMicrosecond);
BENCHMARK(dropout_step)->Args({2048, 256})->Unit(benchmark::kMicrosecond);
BENCHMARK(cross_entropy_step)
    ->Args({1536, 16})
    ->Args({2048, 64})
    ->Args({2048, 256})
    ->Args({1024, 4096})
    ->Unit(benchmark::kMicrosecond);

void embedding_step(benchmark::State& state) {
    set_num_threads(1);
    const std::int64_t vocabulary = state.range(0), places = state.range(1), size = state.range(2);
    Tensor weight = normal({vocabulary, size}, "weight").set_requires_grad();
    const Tensor dy = normal({places, size}, "dy");
    Tensor tokens = Tensor::zeros({places}, DType::i64);
    for (std::int64_t i = 0; i < places; ++i) tokens.data<std::int64_t>()[i] = i * 7919 % vocabulary;
    for (auto _ : state) {
        weight.set_grad({});
        backward(embedding(weight, tokens), {.gradient = dy});
    }
    report(state, places * size, 3);
}
BENCHMARK(embedding_step)
    ->Args({16, 1536, 64})
    ->Args({256, 2048, 256})
    ->Args({4096, 1024, 768})
    ->Unit(benchmark::kMicrosecond);

}  // namespace

BENCHMARK_MAIN();
