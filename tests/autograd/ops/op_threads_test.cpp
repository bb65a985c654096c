// Ops on tensors large enough for many chunks: the same bits for any number of threads.
#include <gtest/gtest.h>

#include <functional>
#include <ostream>

#include "autograd/graph.h"
#include "autograd/ops.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using test::random_tensor;

using Tensors = std::vector<Tensor>;

struct Row {
    std::string name;
    std::function<Tensor(const Tensors&)> function;
    std::vector<Shape> shapes;

    friend void PrintTo(const Row& row, std::ostream* out) { *out << row.name; }
};

Tensor some_true(const Shape& shape) {
    Tensor mask = Tensor::empty(shape, DType::boolean);
    for (std::int64_t i = 0; i < mask.numel(); ++i) mask.data<std::uint8_t>()[i] = (i * 7 + 1) % 3 != 0;
    return mask;
}

Tensor some_places(const Shape& shape, std::int64_t below) {
    Tensor index = Tensor::empty(shape, DType::i64);
    for (std::int64_t i = 0; i < index.numel(); ++i) index.data<std::int64_t>()[i] = i * 7919 % 104729 % below;
    return index;
}

std::vector<Row> table() {
    const Shape large{70, 31, 29};
    return {
        {"exp", [](const Tensors& x) { return exp(x[0]); }, {large}},
        {"log", [](const Tensors& x) { return log(x[0] * x[0] + 0.1); }, {large}},
        {"sqrt", [](const Tensors& x) { return sqrt(x[0] * x[0] + 0.1); }, {large}},
        {"tanh", [](const Tensors& x) { return tanh(x[0]); }, {large}},
        {"sigmoid", [](const Tensors& x) { return sigmoid(x[0]); }, {large}},
        {"pow", [](const Tensors& x) { return pow(x[0] * x[0] + 0.1, x[1]); }, {large, {31, 1}}},
        {"where",
         [](const Tensors& x) {
             return where(some_true({31, 29}), x[0], x[1]);
         },
         {large, {70, 1, 29}}},
        {"masked_fill",
         [](const Tensors& x) {
             return masked_fill(x[0], some_true({31, 29}), 3);
         },
         {large}},
        {"max",
         [](const Tensors& x) {
             return max(x[0], {0, 2});
         },
         {large}},
        {"max_all", [](const Tensors& x) { return max(x[0]); }, {large}},
        {"logsumexp", [](const Tensors& x) { return logsumexp(x[0], {0}); }, {large}},
        {"slice", [](const Tensors& x) { return slice(x[0], 1, 3, 30, 2); }, {large}},
        {"concat",
         [](const Tensors& x) {
             return concat({x[0], x[1]}, 1);
         },
         {large, {70, 3, 29}}},
        {"stack",
         [](const Tensors& x) {
             return stack({x[0], x[1]}, 2);
         },
         {large, large}},
        {"gather",
         [](const Tensors& x) {
             return gather(x[0], 1, some_places({70, 50, 29}, 31));
         },
         {large}},
        {"gather_first",
         [](const Tensors& x) {
             return gather(x[0], 0, some_places({90, 31, 29}, 70));
         },
         {large}},
        {"softmax", [](const Tensors& x) { return softmax(x[0], 1); }, {large}},
        {"log_softmax", [](const Tensors& x) { return log_softmax(x[0]); }, {large}},
        {"rms_norm", [](const Tensors& x) { return rms_norm(x[0], x[1]); }, {large, {29}}},
        {"mse", [](const Tensors& x) { return mse(x[0], x[1]); }, {large, large}},
        {"rotary", [](const Tensors& x) { return rotary(x[0], 3); }, {{11, 70, 90}}},
    };
}

class ThreadsTable : public testing::TestWithParam<Row> {};

TEST_P(ThreadsTable, SameBits) {
    const Row& row = GetParam();
    const auto run = [&row](int threads) {
        const test::Threads count(threads);
        Tensors inputs;
        for (const Shape& shape : row.shapes) inputs.push_back(random_tensor(shape, inputs.size()).set_requires_grad());
        Tensors results{row.function(inputs)};
        backward(results[0], {.gradient = random_tensor(results[0].shape(), 9)});
        for (const Tensor& input : inputs) results.push_back(input.grad());
        return results;
    };
    const Tensors one = run(1);
    for (const int threads : {2, 5}) {
        const Tensors many = run(threads);
        for (std::size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(test::same_bits(one[i], many[i])) << i;
    }
}

INSTANTIATE_TEST_SUITE_P(Ops, ThreadsTable, testing::ValuesIn(table()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace headscope
