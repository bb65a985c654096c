// Gradients of a batch's parts, added by the fixed tree: held against the same additions written out by hand.
#include "experiments/training/gradient_tree.h"

#include <gtest/gtest.h>

#include <cstring>

#include "autograd/parallel.h"
#include "autograd/random.h"

namespace headscope::experiments {
namespace {

/// Gradient of parameter `p` in part `part`; undefined for parameter 2 in even parts.
Tensor gradient_of(const Tensor& parameter, std::uint64_t p, std::uint64_t part) {
    if (p == 2 && part % 2 == 0) return {};
    const RandomStream random(part, "part", p);
    Tensor gradient = Tensor::empty(parameter.shape(), DType::f64);
    for (std::int64_t i = 0; i < gradient.numel(); ++i)
        gradient.data<double>()[i] = random.normal(static_cast<std::uint64_t>(i));
    return gradient.to(parameter.dtype());
}

std::vector<nn::Parameter> parameters_of(DType dtype) {
    std::vector<nn::Parameter> parameters{{"a", Tensor::zeros({3, 7}, dtype)},
                                          {"b", Tensor::zeros({20011}, dtype)},
                                          {"c", Tensor::zeros({5}, dtype)},
                                          {"never", Tensor::zeros({2}, dtype)}};
    for (nn::Parameter& parameter : parameters) parameter.tensor.set_requires_grad();
    return parameters;
}

/// What the tree must give for one element, from the parts' values.
template <class T>
T by_hand(const std::vector<T>& x) {
    switch (x.size()) {
        case 1: return x[0];
        case 2: return x[0] + x[1];
        case 3: return (x[0] + x[1]) + x[2];
        case 5: return ((x[0] + x[1]) + (x[2] + x[3])) + x[4];
        case 6: return ((x[0] + x[1]) + (x[2] + x[3])) + (x[4] + x[5]);
        case 7: return ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + x[6]);
        case 8: return ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]));
        default: ADD_FAILURE(); return T{};
    }
}

template <class T>
void expect_tree(DType dtype, std::uint64_t parts) {
    std::vector<nn::Parameter> parameters = parameters_of(dtype);
    GradientTree tree(parameters);
    for (int round = 0; round < 2; ++round) {  // it is empty after finish()
        for (std::uint64_t part = 0; part < parts; ++part) {
            for (std::uint64_t p = 0; p < 3; ++p)
                parameters[p].tensor.set_grad(gradient_of(parameters[p].tensor, p, part));
            tree.add_part();
            EXPECT_FALSE(parameters[0].tensor.grad().defined());
        }
        tree.finish();
        EXPECT_FALSE(parameters[3].tensor.grad().defined());
        EXPECT_EQ(parameters[2].tensor.grad().defined(), parts > 1);
        for (std::uint64_t p = 0; p < 3; ++p) {
            const Tensor& sum = parameters[p].tensor.grad();
            if (!sum.defined()) continue;
            std::vector<Tensor> all;
            for (std::uint64_t part = 0; part < parts; ++part) {
                const Tensor own = gradient_of(parameters[p].tensor, p, part);
                all.push_back(own.defined() ? own : Tensor::zeros(sum.shape(), dtype));
            }
            for (std::int64_t i = 0; i < sum.numel(); ++i) {
                std::vector<T> values;
                for (const Tensor& part : all) values.push_back(part.data<T>()[i]);
                const T expected = by_hand(values);
                ASSERT_EQ(std::memcmp(&expected, sum.data<T>() + i, sizeof(T)), 0) << p << " " << i << " of " << parts;
            }
        }
    }
}

TEST(GradientTree, AddsInTheOrderOfTheTree) {
    for (const int threads : {1, 2, 3}) {
        const ThreadLimit limit(threads);
        for (const std::uint64_t parts : {1, 2, 3, 5, 6, 7, 8}) {
            expect_tree<float>(DType::f32, parts);
            expect_tree<double>(DType::f64, parts);
        }
    }
}

TEST(TreeSum, IsThatOfTheSameTree) {
    EXPECT_EQ(tree_sum({}), 0);
    for (const std::size_t parts : {1, 2, 3, 5, 6, 7, 8}) {
        const RandomStream random(3, "sum");
        std::vector<double> values;
        for (std::size_t i = 0; i < parts; ++i) values.push_back(random.normal(i));
        EXPECT_EQ(tree_sum(values), by_hand(values));
    }
}

}  // namespace
}  // namespace headscope::experiments
