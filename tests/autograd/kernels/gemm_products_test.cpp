// Several products at once, with all that may be added to them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "autograd/kernels/gemm.h"
#include "autograd/kernels/transpose.h"
#include "tests/autograd/helpers.h"

namespace headscope::kernels {
namespace {

using test::random_tensor;
using test::same_bits;
using test::Threads;

template <class T>
constexpr DType dtype = sizeof(T) == 4 ? DType::f32 : DType::f64;

template <class T>
class GemmProducts : public ::testing::Test {};
using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(GemmProducts, Scalars);

struct Sizes {
    std::int64_t m, n;
    std::vector<std::int64_t> k;  // of each term
    bool bias, add;
};

/// One product of random operands, and what the header promises for it, element by element.
template <class T>
struct Example {
    Example(const Sizes& s, std::uint64_t seed) : sizes(s) {
        for (std::size_t t = 0; t < s.k.size(); ++t) {
            a.push_back(random_tensor({s.m, s.k[t]}, seed + 2 * t, dtype<T>));
            b.push_back(random_tensor({s.k[t], s.n}, seed + 2 * t + 1, dtype<T>));
        }
        bias = random_tensor({s.n}, seed + 10, dtype<T>);
        add = random_tensor({s.m, s.n + 3}, seed + 11, dtype<T>);
        c = Tensor::full({s.m, s.n}, -7, dtype<T>);
    }

    MatrixProduct<T> product() {
        MatrixProduct<T> p{};
        p.m = sizes.m;
        p.n = sizes.n;
        for (std::size_t t = 0; t < a.size(); ++t) {
            const std::int64_t k = sizes.k[t];
            p.terms[t] = {{a[t].template data<T>(), k, 1}, {b[t].template data<T>(), sizes.n, 1}, k};
        }
        p.c = c.template data<T>();
        p.ldc = sizes.n;
        if (sizes.bias) p.bias = bias.template data<T>();
        if (sizes.add) p.add = add.template data<T>(), p.add_row = sizes.n + 3;
        return p;
    }

    Tensor promised() const {
        Tensor result = Tensor::zeros({sizes.m, sizes.n}, dtype<T>);
        for (std::int64_t i = 0; i < sizes.m; ++i)
            for (std::int64_t j = 0; j < sizes.n; ++j) {
                T& element = result.data<T>()[i * sizes.n + j];
                bool first = true;
                for (std::size_t t = 0; t < a.size(); ++t)
                    for (std::int64_t p = 0; p < sizes.k[t]; p += gemm_inner_block, first = false) {
                        T chain = 0;
                        for (std::int64_t q = p; q < std::min(sizes.k[t], p + gemm_inner_block); ++q)
                            chain = std::fma(a[t].template data<T>()[i * sizes.k[t] + q],
                                             b[t].template data<T>()[q * sizes.n + j], chain);
                        element = first ? start(chain, i, j) : chain + element;
                    }
                if (first) element = start(T{}, i, j);
            }
        return result;
    }

    T start(T chain, std::int64_t i, std::int64_t j) const {
        if (sizes.bias) chain += bias.data<T>()[j];
        if (sizes.add) chain += add.data<T>()[i * (sizes.n + 3) + j];
        return chain;
    }

    Sizes sizes;
    std::vector<Tensor> a, b;
    Tensor bias, add, c;
};

/// Sums of columns, promised likewise.
template <class T>
Tensor column_sums(const Tensor& x) {
    const std::int64_t rows = x.size(0), cols = x.size(1);
    Tensor result = Tensor::zeros({cols}, dtype<T>);
    for (std::int64_t j = 0; j < cols; ++j) {
        double total = 0;
        for (std::int64_t i = 0; i < rows; i += 32) {
            T run = 0;
            for (std::int64_t r = i; r < std::min(rows, i + 32); ++r) run += x.data<T>()[r * cols + j];
            total += static_cast<double>(run);
        }
        result.data<T>()[j] = static_cast<T>(total);
    }
    return result;
}

// Whole blocks, small ones that are cut by chain, edges within a vector, operands whose lines collide in the cache.
const std::vector<Sizes> many_sizes{
    {45, 33, {19}, true, true},
    {64, 64, {1536}, false, false},
    {64, 48, {1100, 300, 257}, true, true},
    {17, 5, {2000}, false, true},
    {300, 70, {64, 64, 64}, true, false},
    {401, 129, {300}, false, true},
    {130, 1024, {512}, true, false},
    {1, 1, {1}, true, true},
    {9, 31, {}, true, true},
    {70, 600, {257, 3}, false, false},
    {150, 96, {512}, false, true},
};

TYPED_TEST(GemmProducts, AreWhatTheHeaderPromisesForAnyNumberOfThreads) {
    using T = TypeParam;
    for (const int count : {1, 2, 3}) {
        const Threads threads(count);
        for (std::size_t first = 0; first < many_sizes.size(); first += 3) {
            std::vector<Example<T>> examples;
            std::vector<MatrixProduct<T>> products;
            for (std::size_t i = first; i < std::min(first + 3, many_sizes.size()); ++i)
                examples.emplace_back(many_sizes[i], 100 * i);
            for (Example<T>& example : examples) products.push_back(example.product());
            const Tensor x = random_tensor({77, 131}, 5, dtype<T>);
            Tensor sums = Tensor::zeros({131}, dtype<T>);
            const std::vector<ColumnSums<T>> columns{{x.data<T>(), 77, 131, 131, sums.data<T>()}};
            gemm<T>(products, columns);
            for (std::size_t i = 0; i < examples.size(); ++i)
                EXPECT_TRUE(same_bits(examples[i].c, examples[i].promised())) << count << " threads, " << first + i;
            EXPECT_TRUE(same_bits(sums, column_sums<T>(x))) << count;
        }
    }
}

TYPED_TEST(GemmProducts, MoreThanFitOneRegion) {
    using T = TypeParam;
    std::vector<Example<T>> examples;
    std::vector<MatrixProduct<T>> products;
    for (std::uint64_t i = 0; i < 11; ++i) examples.emplace_back(Sizes{20, 7, {30}, true, false}, i);
    for (Example<T>& example : examples) products.push_back(example.product());
    gemm<T>(products);
    for (const Example<T>& example : examples) EXPECT_TRUE(same_bits(example.c, example.promised()));
}

TYPED_TEST(GemmProducts, EveryElementIsFinishedOnce) {
    using T = TypeParam;
    for (const Sizes& sizes : many_sizes) {
        Example<T> example(sizes, 3);
        MatrixProduct<T> product = example.product();
        const auto add_one = [](const void* context, std::int64_t i, std::int64_t j, std::int64_t rows,
                                std::int64_t cols) {
            const auto& p = *static_cast<const MatrixProduct<T>*>(context);
            for (std::int64_t row = i; row < i + rows; ++row)
                for (std::int64_t col = j; col < j + cols; ++col) p.c[row * p.ldc + col] += 1;
        };
        const MatrixProduct<T> context = product;
        product.finish = {add_one, &context};
        const Threads threads(2);
        gemm<T>(product);
        Tensor expected = example.promised();
        for (std::int64_t i = 0; i < expected.numel(); ++i) expected.data<T>()[i] += 1;
        EXPECT_TRUE(same_bits(example.c, expected)) << sizes.m << " x " << sizes.n;
    }
}

TYPED_TEST(GemmProducts, TransposeOfAnySize) {
    using T = TypeParam;
    for (const auto& [rows, cols, width] : {std::tuple{5, 7, 16}, std::tuple{16, 16, 16}, std::tuple{33, 50, 48},
                                            std::tuple{1, 1, 32}, std::tuple{40, 17, 64}}) {
        const Tensor x = random_tensor({rows, cols + 2}, 1, dtype<T>);
        Tensor y = Tensor::full({cols, width + 1}, -7, dtype<T>);
        transpose<T>(rows, cols, x.data<T>(), cols + 2, y.data<T>(), width, width + 1);
        for (std::int64_t j = 0; j < cols; ++j) {
            for (std::int64_t i = 0; i < width; ++i)
                ASSERT_EQ(y.at({j, i}), i < rows ? x.at({i, j}) : 0)
                    << rows << " x " << cols << " at " << i << ", " << j;
            ASSERT_EQ(y.at({j, width}), -7);
        }
    }
}

}  // namespace
}  // namespace headscope::kernels
