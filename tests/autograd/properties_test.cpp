// Random shapes and values against plain loops. RapidCheck draws the cases and shrinks one that fails; its seed is
// fixed below, and RC_PARAMS in the environment sets another, for example RC_PARAMS="seed=7 max_success=10000".
#include "tests/autograd/properties.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <limits>
#include <vector>

#include "autograd/graph.h"
#include "autograd/ops.h"

namespace headscope {
namespace {

const int parameters_set = setenv("RC_PARAMS", "seed=1 max_success=1000", 0);

using namespace properties;  // NOLINT(google-build-using-namespace): the vocabulary of this file

/// An op on two tensors that broadcast, and its derivatives.
struct Binary {
    const char* name;
    Tensor (*op)(const Tensor&, const Tensor&);
    double (*value)(double, double);
    double (*by_left)(double, double);
    double (*by_right)(double, double);
    bool positive = false;  ///< of numbers above 0, and then not exact in f64
};

const std::vector<Binary> binaries{
    {"add", add, [](double a, double b) { return a + b; }, [](double, double) { return 1.0; },
     [](double, double) { return 1.0; }},
    {"sub", sub, [](double a, double b) { return a - b; }, [](double, double) { return 1.0; },
     [](double, double) { return -1.0; }},
    {"mul", mul, [](double a, double b) { return a * b; }, [](double, double b) { return b; },
     [](double a, double) { return a; }},
    {"div", div, [](double a, double b) { return a / b; }, [](double, double b) { return 1 / b; },
     [](double a, double b) { return -a / (b * b); }, true},
    {"pow", pow, [](double a, double b) { return std::pow(a, b); },
     [](double a, double b) { return b * std::pow(a, b - 1); },
     [](double a, double b) { return std::pow(a, b) * std::log(a); }, true},
};

/// Moves the values to between 1/2 and 3/2.
void make_positive(Tensor& x) {
    for (std::int64_t i = 0; i < x.numel(); ++i) x.data<double>()[i] = 0.5 + std::fabs(element(x, i)) / 8;
}

RC_GTEST_PROP(Properties, BroadcastingArithmetic, ()) {
    const Index sizes = draw_sizes(4);
    Tensor a = draw_values(draw_stretched(sizes)).set_requires_grad();
    Tensor b = draw_values(draw_stretched(sizes)).set_requires_grad();
    const Binary& binary = binaries[*in_range<std::size_t>(0, binaries.size())];
    RC_LOG() << binary.name << " of " << a.shape().str() << " and " << b.shape().str() << '\n';
    const double tolerance = binary.positive ? 1e-11 : 0;
    if (binary.positive) {
        make_positive(a);
        make_positive(b);
    }
    const Tensor c = binary.op(a, b);
    const Tensor g = draw_values(sizes_of(c));
    backward(c, {.gradient = g});

    std::vector<double> values = zeros_like(c), da = zeros_like(a), db = zeros_like(b);
    for (std::int64_t i = 0; i < c.numel(); ++i) {
        const Index index = index_of(i, sizes_of(c));
        const std::int64_t left = source_of(index, a);
        const std::int64_t right = source_of(index, b);
        const double x = element(a, left);
        const double y = element(b, right);
        values[static_cast<std::size_t>(i)] = binary.value(x, y);
        da[static_cast<std::size_t>(left)] += element(g, i) * binary.by_left(x, y);
        db[static_cast<std::size_t>(right)] += element(g, i) * binary.by_right(x, y);
    }
    check_equal(c, values, tolerance);
    check_equal(a.grad(), da, tolerance);
    check_equal(b.grad(), db, tolerance);
}

/// A choice of axes, in any order and counted from either end; every axis when it is empty.
std::vector<int> draw_axes(int rank) {
    std::vector<int> axes;
    for (int axis = 0; axis < rank; ++axis)
        if (*rc::gen::arbitrary<bool>())
            axes.insert(*rc::gen::arbitrary<bool>() ? axes.begin() : axes.end(),
                        *rc::gen::arbitrary<bool>() ? axis : axis - rank);
    return axes;
}

/// The elements of x that each element of the reduced tensor stands for.
std::vector<std::vector<std::int64_t>> groups_of(const Tensor& x, const std::vector<int>& axes) {
    std::vector<bool> reduced(static_cast<std::size_t>(x.rank()), axes.empty());
    for (const int axis : axes) reduced[static_cast<std::size_t>(axis < 0 ? axis + x.rank() : axis)] = true;
    const Index sizes = sizes_of(x);
    std::vector<std::vector<std::int64_t>> groups;
    for (std::int64_t i = 0; i < x.numel(); ++i) {
        const Index index = index_of(i, sizes);
        std::size_t group = 0;
        for (std::size_t axis = 0; axis < sizes.size(); ++axis)
            if (!reduced[axis])
                group = group * static_cast<std::size_t>(sizes[axis]) + static_cast<std::size_t>(index[axis]);
        if (groups.size() <= group) groups.resize(group + 1);
        groups[group].push_back(i);
    }
    return groups;
}

/// What an op makes of one group, and the gradient of each member.
struct Reduced {
    double value;
    std::vector<double> slopes;
};

struct Reduction {
    const char* name;
    Tensor (*op)(const Tensor&, std::vector<int>, bool);
    std::function<Reduced(const std::vector<double>&)> expected;
};

const std::vector<Reduction> reductions{
    {"sum", sum,
     [](const std::vector<double>& x) {
         double total = 0;
         for (const double v : x) total += v;
         return Reduced{total, std::vector<double>(x.size(), 1.0)};
     }},
    {"mean", mean,
     [](const std::vector<double>& x) {
         const auto count = static_cast<double>(x.size());
         double total = 0;
         for (const double v : x) total += v;
         return Reduced{total / count, std::vector<double>(x.size(), 1 / count)};
     }},
    {"max", max,
     [](const std::vector<double>& x) {
         const double most = *std::max_element(x.begin(), x.end());
         const auto ties = static_cast<double>(std::count(x.begin(), x.end(), most));
         Reduced result{most, {}};
         for (const double v : x) result.slopes.push_back(v == most ? 1 / ties : 0);
         return result;
     }},
    {"logsumexp", logsumexp,
     [](const std::vector<double>& x) {
         double total = 0;
         for (const double v : x) total += std::exp(v);
         Reduced result{std::log(total), {}};
         for (const double v : x) result.slopes.push_back(std::exp(v) / total);
         return result;
     }},
};

RC_GTEST_PROP(Properties, ReductionsOverAnyAxes, ()) {
    Tensor x = draw_values(draw_sizes(4)).set_requires_grad();
    const std::vector<int> axes = draw_axes(x.rank());
    const bool keep = *rc::gen::arbitrary<bool>();
    const Reduction& reduction = reductions[*in_range<std::size_t>(0, reductions.size())];
    RC_LOG() << reduction.name << " of " << x.shape().str() << '\n';
    const Tensor y = reduction.op(x, axes, keep);
    const Tensor g = draw_values(sizes_of(y));
    backward(y, {.gradient = g});

    const int gone = axes.empty() ? x.rank() : static_cast<int>(axes.size());
    RC_ASSERT(y.rank() == (keep ? x.rank() : x.rank() - gone));
    std::vector<double> values = zeros_like(y), dx = zeros_like(x);
    const auto groups = groups_of(x, axes);
    RC_ASSERT(groups.size() == values.size());
    for (std::size_t i = 0; i < groups.size(); ++i) {
        std::vector<double> members;
        for (const std::int64_t place : groups[i]) members.push_back(element(x, place));
        const Reduced expected = reduction.expected(members);
        values[i] = expected.value;
        for (std::size_t j = 0; j < members.size(); ++j)
            dx[static_cast<std::size_t>(groups[i][j])] = element(g, static_cast<std::int64_t>(i)) * expected.slopes[j];
    }
    check_equal(y, values, 1e-12);
    check_equal(x.grad(), dx, 1e-12);
}

RC_GTEST_PROP(Properties, WhereChooses, ()) {
    const Index sizes = draw_sizes(4);
    const Tensor condition = draw_mask(draw_stretched(sizes));
    Tensor a = draw_values(draw_stretched(sizes)).set_requires_grad();
    Tensor b = draw_values(draw_stretched(sizes)).set_requires_grad();
    const Tensor c = where(condition, a, b);
    const Tensor g = draw_values(sizes_of(c));
    backward(c, {.gradient = g});

    std::vector<double> values = zeros_like(c), da = zeros_like(a), db = zeros_like(b);
    for (std::int64_t i = 0; i < c.numel(); ++i) {
        const Index index = index_of(i, sizes_of(c));
        const bool left = element(condition, source_of(index, condition)) != 0;
        const std::int64_t place = source_of(index, left ? a : b);
        values[static_cast<std::size_t>(i)] = element(left ? a : b, place);
        (left ? da : db)[static_cast<std::size_t>(place)] += element(g, i);
    }
    check_equal(c, values);
    check_equal(a.grad(), da);
    check_equal(b.grad(), db);
}

RC_GTEST_PROP(Properties, MaskedSoftmaxSeesOnlyTheVisible, ()) {
    Index sizes = draw_sizes(3);
    sizes.push_back(*in_range<std::int64_t>(1, 6));
    Tensor x = draw_values(sizes).set_requires_grad();
    const Tensor visible = draw_mask(draw_stretched(sizes));
    const Tensor y = masked_softmax(x, visible);
    const Tensor g = draw_values(sizes);
    backward(y, {.gradient = g});

    const std::int64_t width = sizes.back();
    std::vector<double> values = zeros_like(y), dx = zeros_like(x);
    for (std::int64_t row = 0; row < x.numel() / width; ++row) {
        double total = 0;
        double mean = 0;
        for (std::int64_t i = row * width; i < (row + 1) * width; ++i) {
            const bool seen = element(visible, source_of(index_of(i, sizes), visible)) != 0;
            values[static_cast<std::size_t>(i)] = seen ? std::exp(element(x, i)) : 0;
            total += values[static_cast<std::size_t>(i)];
        }
        for (std::int64_t i = row * width; i < (row + 1) * width && total > 0; ++i) {
            values[static_cast<std::size_t>(i)] /= total;
            mean += values[static_cast<std::size_t>(i)] * element(g, i);
        }
        for (std::int64_t i = row * width; i < (row + 1) * width; ++i)
            dx[static_cast<std::size_t>(i)] = values[static_cast<std::size_t>(i)] * (element(g, i) - mean);
    }
    check_equal(y, values, 1e-12);
    check_equal(x.grad(), dx, 1e-12);
}

// Filling with -inf before a softmax is the same as hiding.
RC_GTEST_PROP(Properties, MaskedFillHides, ()) {
    Index sizes = draw_sizes(3);
    sizes.push_back(*in_range<std::int64_t>(1, 6));
    const Tensor x = draw_values(sizes);
    const Tensor hidden = draw_mask(draw_stretched(sizes));
    Tensor visible = hidden.clone();
    for (std::int64_t i = 0; i < visible.numel(); ++i) visible.data<std::uint8_t>()[i] ^= 1;
    const Tensor filled = softmax(masked_fill(x, hidden, -std::numeric_limits<double>::infinity()));
    const Tensor masked = masked_softmax(x, visible);
    for (std::int64_t i = 0; i < x.numel(); ++i)  // a row with nothing visible is NaN in one and 0 in the other
        RC_ASSERT(element(masked, i) == (std::isnan(element(filled, i)) ? 0 : element(filled, i)));
}

RC_GTEST_PROP(Properties, PartsMakeTheWhole, ()) {
    Index sizes = draw_sizes(3);
    sizes.push_back(*in_range<std::int64_t>(1, 6));
    Tensor x = draw_values(sizes).set_requires_grad();
    const int axis = *in_range(-x.rank(), x.rank());
    const std::int64_t size = x.size(axis);
    const std::int64_t first = *in_range<std::int64_t>(0, size + 1);
    const std::int64_t second = *in_range<std::int64_t>(first, size + 1);
    const Tensor y =
        concat({slice(x, axis, 0, first), slice(x, axis, first, second), slice(x, axis, second, size)}, axis);
    const Tensor g = draw_values(sizes);
    backward(y, {.gradient = g});
    for (std::int64_t i = 0; i < x.numel(); ++i) {
        RC_ASSERT(element(y, i) == element(x, i));
        RC_ASSERT(element(x.grad(), i) == element(g, i));
    }
}

}  // namespace
}  // namespace headscope
