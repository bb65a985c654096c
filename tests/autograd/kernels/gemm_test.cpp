#include "autograd/kernels/gemm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "tests/autograd/helpers.h"

namespace headscope::kernels {
namespace {

using test::Threads;

/// Random numbers of one test, taken one after the other.
class Dice {
public:
    explicit Dice(std::uint64_t seed) : random_(seed, "gemm") {}
    std::int64_t between(std::int64_t low, std::int64_t high) {
        return low + static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(high - low + 1), index_++));
    }
    bool coin() { return between(0, 1) == 1; }
    template <class T>
    std::vector<T> values(std::int64_t count) {
        std::vector<T> result(static_cast<std::size_t>(count));
        for (T& value : result) value = static_cast<T>(random_.normal(index_++));
        return result;
    }

private:
    RandomStream random_;
    std::uint64_t index_ = 0;
};

/// A random matrix, stored by rows or (transposed) by columns, with unused elements between its lines and, now and
/// then, between its elements.
template <class T>
struct Matrix {
    Matrix(std::int64_t rows, std::int64_t columns, bool transposed, Dice& dice) {
        const std::int64_t gap = dice.between(0, 4) == 0 ? 2 : 1;
        const std::int64_t line = gap * (transposed ? rows : columns) + dice.between(0, 5);
        data = dice.values<T>(line * (transposed ? columns : rows) + 1);
        row = transposed ? gap : line;
        column = transposed ? line : gap;
    }
    MatrixView<T> view() const { return {data.data(), row, column}; }
    T& at(std::int64_t i, std::int64_t j) { return data[static_cast<std::size_t>(i * row + j * column)]; }
    T at(std::int64_t i, std::int64_t j) const { return data[static_cast<std::size_t>(i * row + j * column)]; }

    std::vector<T> data;
    std::int64_t row, column;
};

template <class T>
struct Product {
    Product(std::int64_t m_, std::int64_t n_, std::int64_t k_, Dice& dice)
        : m(m_),
          n(n_),
          k(k_),
          ldc(n_ + dice.between(0, 9)),
          a(m_, k_, dice.coin(), dice),
          b(k_, n_, dice.coin(), dice),
          before(dice.values<T>(m_ * ldc)),
          accumulate(dice.coin()) {}

    std::vector<T> serial() const {
        std::vector<T> c = before;
        gemm_serial<T>(m, n, k, a.view(), b.view(), c.data(), ldc, accumulate);
        return c;
    }
    std::vector<T> parallel() const {
        std::vector<T> c = before;
        gemm<T>(m, n, k, a.view(), b.view(), c.data(), ldc, accumulate);
        return c;
    }
    /// What the header promises, one element at a time.
    std::vector<T> chains() const {
        std::vector<T> c = before;
        for (std::int64_t i = 0; i < m; ++i)
            for (std::int64_t j = 0; j < n; ++j) {
                T& element = c[static_cast<std::size_t>(i * ldc + j)];
                if (!accumulate) element = 0;
                for (std::int64_t p = 0; p < k; p += gemm_inner_block) {
                    T chain = 0;
                    for (std::int64_t q = p; q < std::min(k, p + gemm_inner_block); ++q)
                        chain = std::fma(a.at(i, q), b.at(q, j), chain);
                    element += chain;
                }
            }
        return c;
    }

    std::int64_t m, n, k, ldc;
    Matrix<T> a, b;
    std::vector<T> before;
    bool accumulate;
};

template <class T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

template <class T>
class Gemm : public ::testing::Test {};
using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Gemm, Scalars);

/// Errors are measured against k + 1 roundings of the sum of magnitudes, the bound of a plain sum.
template <class T>
void expect_near_long_double(const Product<T>& product, const std::vector<T>& c) {
    constexpr long double epsilon = std::numeric_limits<T>::epsilon() / 2;
    for (std::int64_t i = 0; i < product.m; ++i)
        for (std::int64_t j = 0; j < product.ldc; ++j) {
            const auto place = static_cast<std::size_t>(i * product.ldc + j);
            if (j >= product.n) {
                ASSERT_EQ(c[place], product.before[place]) << "an element between the rows of C was written";
                continue;
            }
            long double exact = product.accumulate ? product.before[place] : 0;
            long double magnitude = std::fabs(exact);
            for (std::int64_t p = 0; p < product.k; ++p) {
                const long double term = static_cast<long double>(product.a.at(i, p)) * product.b.at(p, j);
                exact += term;
                magnitude += std::fabs(term);
            }
            ASSERT_LE(std::fabs(c[place] - exact), static_cast<long double>(product.k + 1) * epsilon * magnitude)
                << product.m << " x " << product.n << " x " << product.k << " at " << i << ", " << j;
        }
}

TYPED_TEST(Gemm, IsCloseToLongDouble) {
    Dice dice(1);
    for (int round = 0; round < 150; ++round) {
        const std::int64_t k = round % 3 == 0 ? dice.between(257, 700) : dice.between(1, 70);
        const Product<TypeParam> product(dice.between(1, 71), dice.between(1, 71), k, dice);
        expect_near_long_double(product, product.serial());
        expect_near_long_double(product, product.parallel());
    }
}

TYPED_TEST(Gemm, EveryElementIsItsChainsAddedInOrder) {
    Dice dice(2);
    for (int round = 0; round < 150; ++round) {
        const std::int64_t k = round % 3 == 0 ? dice.between(256, 800) : dice.between(1, 70);
        const Product<TypeParam> product(dice.between(1, 71), dice.between(1, 71), k, dice);
        ASSERT_TRUE(same(product.serial(), product.chains()))
            << product.m << " x " << product.n << " x " << product.k << ", accumulate " << product.accumulate;
    }
    const Product<TypeParam> several_blocks(173, 1031, 259, dice);
    EXPECT_TRUE(same(several_blocks.serial(), several_blocks.chains()));
    const Product<TypeParam> tall(401, 35, 256, dice);
    EXPECT_TRUE(same(tall.serial(), tall.chains()));
}

TYPED_TEST(Gemm, SameBitsForAnyNumberOfThreads) {
    Dice dice(3);
    for (int round = 0; round < 30; ++round) {
        const Product<TypeParam> product(dice.between(1, 400), dice.between(1, 400), dice.between(1, 300), dice);
        const std::vector<TypeParam> expected = product.serial();
        for (const int count : {1, 2, 3, 5}) {
            const Threads threads(count);
            ASSERT_TRUE(same(product.parallel(), expected))
                << product.m << " x " << product.n << " x " << product.k << ", " << count << " threads";
        }
    }
}

TYPED_TEST(Gemm, ClonedBlocksStayClones) {
    Dice dice(4);
    for (int round = 0; round < 400; ++round) {
        const bool columns = round % 2 == 0;
        const std::int64_t blocks = dice.between(2, 6);
        const std::int64_t width = dice.between(1, 41);
        const std::int64_t lead = dice.between(0, 17);  // whatever comes before the first block
        const std::int64_t other = dice.between(1, 67);
        const std::int64_t k = round % 5 == 0 ? dice.between(257, 520) : dice.between(1, 67);
        const std::int64_t size = lead + blocks * width;
        Product<TypeParam> product(columns ? other : size, columns ? size : other, k, dice);
        product.accumulate = false;
        const auto place = [&](std::int64_t block, std::int64_t i) { return lead + block * width + i; };
        for (std::int64_t block = 1; block < blocks; ++block)
            for (std::int64_t i = 0; i < width; ++i)
                for (std::int64_t p = 0; p < k; ++p) {
                    if (columns) product.b.at(p, place(block, i)) = product.b.at(p, place(0, i));
                    else product.a.at(place(block, i), p) = product.a.at(place(0, i), p);
                }
        const std::vector<TypeParam> c = product.parallel();
        const auto element = [&](std::int64_t block, std::int64_t i, std::int64_t j) {
            const std::int64_t row = columns ? j : place(block, i);
            const std::int64_t column = columns ? place(block, i) : j;
            return c[static_cast<std::size_t>(row * product.ldc + column)];
        };
        for (std::int64_t block = 1; block < blocks; ++block)
            for (std::int64_t i = 0; i < width; ++i)
                for (std::int64_t j = 0; j < other; ++j)
                    ASSERT_EQ(element(block, i, j), element(0, i, j)) << "round " << round << ", block " << block;
    }
}

TYPED_TEST(Gemm, NoTermsGiveZero) {
    Dice dice(5);
    for (const bool accumulate : {false, true}) {
        Product<TypeParam> product(5, 7, 0, dice);
        product.accumulate = accumulate;
        EXPECT_TRUE(same(product.serial(), product.chains()));
        EXPECT_TRUE(same(product.parallel(), product.chains()));
    }
    for (const auto& [m, n] : {std::pair{0, 7}, std::pair{5, 0}}) {
        const Product<TypeParam> empty(m, n, 3, dice);
        EXPECT_TRUE(same(empty.parallel(), empty.before));
    }
}

TYPED_TEST(Gemm, NaNReachesItsRowAndColumnOnly) {
    Dice dice(6);
    Product<TypeParam> product(31, 45, 19, dice);
    product.a.at(17, 3) = std::numeric_limits<TypeParam>::quiet_NaN();
    product.b.at(5, 40) = std::numeric_limits<TypeParam>::infinity();
    const std::vector<TypeParam> c = product.serial();
    for (std::int64_t i = 0; i < 31; ++i)
        for (std::int64_t j = 0; j < 45; ++j) {
            const TypeParam value = c[static_cast<std::size_t>(i * product.ldc + j)];
            EXPECT_EQ(std::isnan(value), i == 17) << i << ", " << j;
            EXPECT_EQ(std::isinf(value), i != 17 && j == 40) << i << ", " << j;
        }
}

}  // namespace
}  // namespace headscope::kernels
