// GFLOP/s of the matrix products of a training step, at the shapes of scripts/bench, and what share that is of the best
// this kernel reaches on large matrices with as many threads (measured first, printed as `large`).
//
// A linear map y = x W^T, x [tokens, in], W [out, in], is three products: y, dx = g W, dW = g^T x. Attention multiplies
// one head at a time: scores = q k^T [T, T] with d_k as the inner length, and output = P v with T as the inner length.
#include "autograd/kernels/gemm.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "autograd/parallel.h"
#include "autograd/random.h"

using namespace headscope;
using kernels::MatrixView;

namespace {

std::vector<float> random_values(std::int64_t count) {
    const RandomStream random(0, "bench.gemm");
    std::vector<float> values(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(random.uniform(i)) - .5F;
    return values;
}

/// C[m, n] = A[m, k] B[k, n]; A and B may lie transposed in memory.
struct Product {
    std::int64_t m, n, k;
    bool a_transposed = false, b_transposed = false;

    double flops() const { return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k); }
};

struct Matrices {
    explicit Matrices(const Product& p)
        : product(p),
          a(random_values(p.m * p.k)),
          b(random_values(p.k * p.n)),
          c(static_cast<std::size_t>(p.m * p.n)) {}

    MatrixView<float> view_a() const {
        return product.a_transposed ? MatrixView<float>{a.data(), 1, product.m}
                                    : MatrixView<float>{a.data(), product.k, 1};
    }
    MatrixView<float> view_b() const {
        return product.b_transposed ? MatrixView<float>{b.data(), 1, product.k}
                                    : MatrixView<float>{b.data(), product.n, 1};
    }
    void shared() {
        kernels::gemm<float>(product.m, product.n, product.k, view_a(), view_b(), c.data(), product.n, false);
    }
    void serial() {
        kernels::gemm_serial<float>(product.m, product.n, product.k, view_a(), view_b(), c.data(), product.n, false);
    }

    Product product;
    std::vector<float> a, b, c;
};

constexpr Product large{1536, 1536, 1536};

/// FLOP/s, the best of several goes.
double measure_peak(int threads) {
    set_num_threads(threads);
    Matrices matrices(large);
    double best = 0;
    for (int go = 0; go < 8; ++go) {
        const auto start = std::chrono::steady_clock::now();
        matrices.shared();
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
        best = std::max(best, large.flops() / seconds.count());
    }
    return best;
}

double peak(int threads) {
    static std::vector<double> known(1025, 0);
    double& value = known.at(static_cast<std::size_t>(threads));
    if (value == 0) value = measure_peak(threads);
    return value;
}

/// Runs `product` as often as the library asks for and reports its speed.
template <class Function>
void run(benchmark::State& state, double flops, int threads, Function product) {
    const double large_rate = peak(threads);
    set_num_threads(threads);
    const auto start = std::chrono::steady_clock::now();
    for (auto _ : state) product();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    const double rate = flops * static_cast<double>(state.iterations()) / seconds.count();
    state.counters["GFLOP/s"] = rate / 1e9;
    state.counters["of_large"] = rate / large_rate;
}

void add(const std::string& name, const Product& product, int threads) {
    const auto measure = [product, threads](benchmark::State& state) {
        Matrices matrices(product);
        run(state, product.flops(), threads, [&] { matrices.shared(); });
    };
    benchmark::RegisterBenchmark((name + "/threads:" + std::to_string(threads)).c_str(), measure)->UseRealTime();
}

void add_linear(const std::string& name, std::int64_t tokens, std::int64_t in, std::int64_t out, int threads) {
    add(name + "/y", {.m = tokens, .n = out, .k = in, .b_transposed = true}, threads);
    add(name + "/dx", {.m = tokens, .n = in, .k = out}, threads);
    add(name + "/dW", {.m = out, .n = in, .k = tokens, .a_transposed = true}, threads);
}

/// One head's product in the calling thread, as attention does it.
void add_head(const std::string& name, const Product& product) {
    benchmark::RegisterBenchmark(name.c_str(), [product](benchmark::State& state) {
        Matrices matrices(product);
        run(state, product.flops(), 1, [&] { matrices.serial(); });
    });
}

struct StepShape {
    const char* name;
    std::int64_t vocab, length, d_model, heads, d_ff, batch;
};

constexpr StepShape step_shapes[] = {{"XS", 16, 48, 64, 2, 0, 32},
                                     {"S", 64, 64, 64, 4, 256, 32},
                                     {"M", 256, 128, 256, 8, 1024, 16},
                                     {"L", 4096, 256, 768, 12, 3072, 4}};

void add_all() {
    for (const int threads : {1, 2}) add("large", large, threads);
    for (const StepShape& s : step_shapes) {
        const std::int64_t tokens = s.batch * s.length, head_dim = s.d_model / s.heads;
        const auto name = [&](const char* what) { return std::string(s.name) + "/" + what; };
        for (const int threads : {1, 2}) {
            add_linear(name("projection"), tokens, s.d_model, s.d_model, threads);
            if (s.d_ff > 0) {
                add_linear(name("linear1"), tokens, s.d_model, s.d_ff, threads);
                add_linear(name("linear2"), tokens, s.d_ff, s.d_model, threads);
            }
            add_linear(name("head"), tokens, s.d_model, s.vocab, threads);
        }
        add_head(name("scores"), {.m = s.length, .n = s.length, .k = head_dim, .b_transposed = true});
        add_head(name("weighted_values"), {.m = s.length, .n = head_dim, .k = s.length});
    }
}

}  // namespace

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    add_all();
    benchmark::RunSpecifiedBenchmarks();
}
