// C is cut into blocks, which threads share; a block is computed by tiles that fit the registers (gemm_tile.h).
//
// A is read in place, one element at a time, in any layout. B must give whole vectors along a row: in place where its
// rows are contiguous, else through a copy of the panel of columns at hand (gemm_pack.h). A panel with columns beyond
// the last one is a copy too, filled up with zeros, which reach only elements that are thrown away: an edge element
// goes through the very steps of an inner one. An operand whose lines lie a large power of two apart would push itself
// out of the cache; its block is copied first.
#include "autograd/kernels/gemm.h"

#include <algorithm>
#include <tuple>
#include <vector>

#include "autograd/allocator.h"
#include "autograd/kernels/gemm_pack.h"
#include "autograd/kernels/gemm_tile.h"
#include "autograd/parallel.h"

namespace headscope::kernels {
namespace {

constexpr std::int64_t inner = gemm_inner_block;
template <class T>
constexpr std::int64_t tile_cols = max_tile_vectors* Simd<T>::lanes;

// Largest block of C that one task computes: the part of both operands that belongs to one chain stays in L2.
constexpr std::int64_t block_rows = 336;
constexpr std::int64_t block_cols = 512;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
std::int64_t round_up(std::int64_t value, std::int64_t unit) { return ceil_div(value, unit) * unit; }

/// Memory of this thread for copies of operands, kept from call to call.
template <class T>
T* copy_memory(std::int64_t count) {
    thread_local std::vector<std::byte> memory;
    const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(T) + 64;
    if (memory.size() < bytes) memory.resize(bytes);
    const auto address = reinterpret_cast<std::uintptr_t>(memory.data());
    return reinterpret_cast<T*>((address + 63) / 64 * 64);
}

/// One chain over k (at most `inner` terms) for a block of C.
template <class T>
void multiply_chain(std::int64_t rows, std::int64_t cols, std::int64_t k, MatrixView<T> a, MatrixView<T> b,
                    const ChainStart<T>& start, T* c, std::int64_t ldc) {
    constexpr std::int64_t lanes = Simd<T>::lanes;
    const std::int64_t tiles = ceil_div(rows, max_tile_rows);
    const std::int64_t a_lines = a.column == 1 ? rows : k, a_count = a.column == 1 ? k : rows;
    const bool copy_a = cols > tile_cols<T> &&
                        ((a.column == 1 && lines_collide<T>(a.row)) || (a.row == 1 && lines_collide<T>(a.column)));
    const bool copy_b = tiles > 4 && b.column == 1 && lines_collide<T>(b.row);
    const std::int64_t a_size = copy_a ? a_lines * apart<T>(a_count) : 0;
    T* const panel = copy_memory<T>(k * tile_cols<T> + a_size + (copy_b ? k * apart<T>(cols) : 0));
    if (copy_a) {
        T* const copy = panel + k * tile_cols<T>;
        move_apart(a.data, a.column == 1 ? a.row : a.column, a_lines, a_count, copy);
        a = a.column == 1 ? MatrixView<T>{copy, apart<T>(a_count), 1} : MatrixView<T>{copy, 1, apart<T>(a_count)};
    }
    if (copy_b) {
        T* const copy = panel + k * tile_cols<T> + a_size;
        move_apart(b.data, b.row, k, cols, copy);
        b = {copy, apart<T>(cols), 1};
    }
    for (std::int64_t j = 0; j < cols; j += tile_cols<T>) {
        const std::int64_t used = std::min(tile_cols<T>, cols - j);
        const std::int64_t width = round_up(used, lanes);
        MatrixView<T> columns{b.data + j * b.column, b.row, b.column};
        if (b.column != 1 || used != width) {
            pack_panel<T>(columns, k, used, width, panel);
            columns = {panel, width, 1};
        }
        for (std::int64_t tile = 0, i = 0; tile < tiles; ++tile) {
            const std::int64_t height = rows / tiles + (tile < rows % tiles ? 1 : 0);
            tile_kernel<T>(height,
                           static_cast<int>(width / lanes))({k, a.data + i * a.row, a.row, a.column, columns.data,
                                                             columns.row, start.at(i, j), c + i * ldc + j, ldc, used});
            i += height;
        }
    }
}

/// Calls chain(number, term, first, k) for the chains of a product, in order.
template <class T, class Chain>
void for_each_chain(const MatrixProduct<T>& product, Chain chain) {
    std::int64_t number = 0;
    for (const auto& term : product.terms)
        for (std::int64_t p = 0; p < term.k; p += inner) chain(number++, term, p, std::min(inner, term.k - p));
}

template <class T>
std::int64_t count_chains(const MatrixProduct<T>& product) {
    std::int64_t count = 0;
    for (const auto& term : product.terms) count += ceil_div(term.k, inner);
    return count;
}

/// Where a block lies in C.
struct Block {
    std::int64_t i, j, rows, cols;
};

template <class T>
ChainStart<T> start_of(const MatrixProduct<T>& product) {
    return {product.bias, product.add, product.add_row};
}

template <class T>
void multiply_one_chain(const typename MatrixProduct<T>::Term& term, std::int64_t first, std::int64_t k,
                        const Block& block, const ChainStart<T>& start, T* c, std::int64_t ldc) {
    const auto& [a, b, all] = term;
    multiply_chain<T>(block.rows, block.cols, k, {a.data + block.i * a.row + first * a.column, a.row, a.column},
                      {b.data + first * b.row + block.j * b.column, b.row, b.column}, start.at(block.i, block.j),
                      c + block.i * ldc + block.j, ldc);
}

template <class T>
void multiply_block(const MatrixProduct<T>& product, const Block& block) {
    for_each_chain(product, [&](std::int64_t number, const auto& term, std::int64_t first, std::int64_t k) {
        const ChainStart<T> start = number == 0 ? start_of(product) : ChainStart<T>{nullptr, product.c, product.ldc};
        multiply_one_chain<T>(term, first, k, block, start, product.c, product.ldc);
    });
    if (product.finish.call != nullptr)
        product.finish.call(product.finish.context, block.i, block.j, block.rows, block.cols);
}

/// How a product is cut: into blocks of rows x cols, or, when C is small and k long, into its chains, each of which
/// fills a C of its own that is added up afterwards.
struct Cut {
    std::int64_t rows, cols, tasks;
    bool by_chain;
};

template <class T>
Cut cut(const MatrixProduct<T>& product) {
    const std::int64_t m = product.m, n = product.n;
    const std::int64_t chains = count_chains(product);
    if (m * n <= 128 * 128 && chains >= 4 && product.finish.call == nullptr) return {m, n, chains, true};
    std::int64_t rows = std::min(m, block_rows), cols = std::min(n, block_cols);
    const auto blocks = [&] { return ceil_div(m, rows) * ceil_div(n, cols); };
    constexpr std::int64_t wanted = 8;
    constexpr std::int64_t least_rows = 2 * max_tile_rows, least_cols = 2 * tile_cols<T>;
    while (blocks() < wanted && (rows > least_rows || cols > least_cols)) {
        if (cols > least_cols && (cols >= rows || rows <= least_rows)) cols = round_up(ceil_div(cols, 2), tile_cols<T>);
        else rows = ceil_div(rows, 2);
    }
    // Even shares, and an even number of them, which two threads finish together.
    cols = round_up(ceil_div(n, ceil_div(n, cols)), tile_cols<T>);
    if (blocks() % 2 == 1 && rows > least_rows) rows = ceil_div(m, ceil_div(m, rows) + 1);
    rows = ceil_div(m, ceil_div(m, rows));
    return {rows, cols, blocks(), false};
}

/// Memory for the chains after the first: [chains - 1][m][n].
template <class T>
class PartialProducts {
public:
    explicit PartialProducts(std::int64_t count) : bytes_(static_cast<std::size_t>(count) * sizeof(T)) {
        if (count > 0) data_ = static_cast<T*>(allocator::allocate(bytes_));
    }
    ~PartialProducts() {
        if (data_ != nullptr) allocator::release(data_, bytes_);
    }
    PartialProducts(const PartialProducts&) = delete;
    PartialProducts& operator=(const PartialProducts&) = delete;
    T* data() const { return data_; }

private:
    std::size_t bytes_;
    T* data_ = nullptr;
};

template <class T>
void multiply_part(const MatrixProduct<T>& product, std::int64_t part, T* partials) {
    const Block whole{0, 0, product.m, product.n};
    for_each_chain(product, [&](std::int64_t number, const auto& term, std::int64_t first, std::int64_t k) {
        if (number != part) return;
        if (part == 0) multiply_one_chain<T>(term, first, k, whole, start_of(product), product.c, product.ldc);
        else multiply_one_chain<T>(term, first, k, whole, {}, partials + (part - 1) * product.m * product.n, product.n);
    });
}

template <class T>
void add_parts(const MatrixProduct<T>& product, std::int64_t parts, const T* partials) {
    for (std::int64_t i = 0; i < product.m; ++i) {
        T* const c = product.c + i * product.ldc;
        for (std::int64_t part = 1; part < parts; ++part) {
            const T* const row = partials + ((part - 1) * product.m + i) * product.n;
            for (std::int64_t j = 0; j < product.n; ++j) c[j] = row[j] + c[j];
        }
    }
}

constexpr std::int64_t sum_columns = 64;  // of one task
constexpr std::int64_t sum_run = 32;      // rows added up before f64 takes over

template <class T>
void sum_column_block(const ColumnSums<T>& s, std::int64_t first) {
    const std::int64_t count = std::min(sum_columns, s.cols - first);
    double totals[sum_columns] = {};
    for (std::int64_t row = 0; row < s.rows; row += sum_run) {
        T run[sum_columns] = {};
        const std::int64_t end = std::min(row + sum_run, s.rows);
        if (count == sum_columns) {
            for (std::int64_t i = row; i < end; ++i)
                for (std::int64_t j = 0; j < sum_columns; ++j) run[j] += s.x[i * s.row + first + j];
        } else {
            for (std::int64_t i = row; i < end; ++i)
                for (std::int64_t j = 0; j < count; ++j) run[j] += s.x[i * s.row + first + j];
        }
        for (std::int64_t j = 0; j < sum_columns; ++j) totals[j] += static_cast<double>(run[j]);
    }
    for (std::int64_t j = 0; j < count; ++j) s.sums[first + j] = static_cast<T>(totals[j]);
}

/// One task of a region. Those that read the same rows of activations, be they the rows of a product or a part of its
/// inner index, have about the same place and so fall to the same core (parallel.cpp).
struct Task {
    std::size_t item;  // a product, or, after these, a sum
    std::int64_t own;  // its number there
    float place;       // of its rows among all, 0 ... 1
};

/// A product over nothing is zero.
template <class T>
void fill_start(const MatrixProduct<T>& product) {
    for (std::int64_t i = 0; i < product.m; ++i)
        for (std::int64_t j = 0; j < product.n; ++j) {
            T value{};
            if (product.bias != nullptr) value += product.bias[j];
            if (product.add != nullptr) value += product.add[i * product.add_row + j];
            product.c[i * product.ldc + j] = value;
        }
    if (product.finish.call != nullptr) product.finish.call(product.finish.context, 0, 0, product.m, product.n);
}

template <class T>
MatrixProduct<T> plain(std::int64_t m, std::int64_t n, std::int64_t k, MatrixView<T> a, MatrixView<T> b, T* c,
                       std::int64_t ldc, bool accumulate) {
    return {
        .m = m, .n = n, .terms = {{{a, b, k}}}, .c = c, .ldc = ldc, .add = accumulate ? c : nullptr, .add_row = ldc};
}

}  // namespace

template <class T>
void gemm_serial(std::int64_t m, std::int64_t n, std::int64_t k, MatrixView<T> a, MatrixView<T> b, T* c,
                 std::int64_t ldc, bool accumulate) {
    if (k > 0 && k <= inner && m <= block_rows && n <= block_cols) {  // most calls; nothing to cut
        multiply_chain<T>(m, n, k, a, b, {nullptr, accumulate ? c : nullptr, ldc}, c, ldc);
        return;
    }
    const MatrixProduct<T> product = plain(m, n, k, a, b, c, ldc, accumulate);
    if (k == 0) {
        fill_start(product);
        return;
    }
    for (std::int64_t j = 0; j < n; j += block_cols)
        for (std::int64_t i = 0; i < m; i += block_rows)
            multiply_block(product, {i, j, std::min(block_rows, m - i), std::min(block_cols, n - j)});
}

template <class T>
void gemm(std::span<const MatrixProduct<T>> products, std::span<const ColumnSums<T>> sums) {
    constexpr std::size_t most = 8;
    if (products.size() > most || sums.size() > most) {  // no user has so many
        gemm<T>(products.first(std::min(most, products.size())), sums.first(std::min(most, sums.size())));
        gemm<T>(products.subspan(std::min(most, products.size())), sums.subspan(std::min(most, sums.size())));
        return;
    }
    Cut cuts[most];
    std::int64_t first_partial[most + 1] = {};
    thread_local std::vector<Task> tasks;
    tasks.clear();
    for (std::size_t i = 0; i < products.size(); ++i) {
        const MatrixProduct<T>& product = products[i];
        if (count_chains(product) == 0) fill_start(product);
        const bool empty = product.m == 0 || product.n == 0 || count_chains(product) == 0;
        cuts[i] = empty ? Cut{1, 1, 0, false} : cut(product);
        first_partial[i + 1] = first_partial[i] + (cuts[i].by_chain ? (cuts[i].tasks - 1) * product.m * product.n : 0);
        const std::int64_t row_blocks = cuts[i].by_chain ? cuts[i].tasks : ceil_div(product.m, cuts[i].rows);
        for (std::int64_t own = 0; own < cuts[i].tasks; ++own)
            tasks.push_back({i, own, static_cast<float>(own % row_blocks) / static_cast<float>(row_blocks)});
    }
    for (std::size_t i = 0; i < sums.size(); ++i)
        for (std::int64_t own = 0; own < ceil_div(sums[i].cols, sum_columns); ++own)
            tasks.push_back({products.size() + i, own, 0.5F});
    std::sort(tasks.begin(), tasks.end(), [](const Task& a, const Task& b) {
        return std::tie(a.place, a.item, a.own) < std::tie(b.place, b.item, b.own);
    });
    const PartialProducts<T> partials(first_partial[products.size()]);

    parallel_chunks(static_cast<std::int64_t>(tasks.size()), [&, list = tasks.data()](std::int64_t number) {
        const auto& [item, own, place] = list[number];
        if (item >= products.size()) {
            sum_column_block(sums[item - products.size()], own * sum_columns);
            return;
        }
        const MatrixProduct<T>& product = products[item];
        const Cut& how = cuts[item];
        if (how.by_chain) {
            multiply_part(product, own, partials.data() + first_partial[item]);
            return;
        }
        const std::int64_t row_blocks = ceil_div(product.m, how.rows);
        const std::int64_t i = own % row_blocks * how.rows, j = own / row_blocks * how.cols;
        multiply_block(product, {i, j, std::min(how.rows, product.m - i), std::min(how.cols, product.n - j)});
    });
    for (std::size_t i = 0; i < products.size(); ++i)
        if (cuts[i].by_chain) add_parts(products[i], cuts[i].tasks, partials.data() + first_partial[i]);
}

template <class T>
void gemm(std::int64_t m, std::int64_t n, std::int64_t k, MatrixView<T> a, MatrixView<T> b, T* c, std::int64_t ldc,
          bool accumulate) {
    if (m * n * k < 64 * 64 * 64) {
        gemm_serial(m, n, k, a, b, c, ldc, accumulate);
        return;
    }
    gemm<T>(plain(m, n, k, a, b, c, ldc, accumulate));
}

template void gemm_serial(std::int64_t, std::int64_t, std::int64_t, MatrixView<float>, MatrixView<float>, float*,
                          std::int64_t, bool);
template void gemm_serial(std::int64_t, std::int64_t, std::int64_t, MatrixView<double>, MatrixView<double>, double*,
                          std::int64_t, bool);
template void gemm(std::int64_t, std::int64_t, std::int64_t, MatrixView<float>, MatrixView<float>, float*, std::int64_t,
                   bool);
template void gemm(std::int64_t, std::int64_t, std::int64_t, MatrixView<double>, MatrixView<double>, double*,
                   std::int64_t, bool);
template void gemm(std::span<const MatrixProduct<float>>, std::span<const ColumnSums<float>>);
template void gemm(std::span<const MatrixProduct<double>>, std::span<const ColumnSums<double>>);

}  // namespace headscope::kernels
