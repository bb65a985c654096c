// What an op says when shapes, dtypes or values do not fit: its own name, and the shapes in question.
#include <gtest/gtest.h>

#include <functional>
#include <ostream>

#include "autograd/ops.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using test::random_tensor;

struct Misfit {
    std::string name;
    std::function<void()> call;
    std::vector<std::string> parts;  // of the message

    friend void PrintTo(const Misfit& misfit, std::ostream* out) { *out << misfit.name; }
};

std::vector<Misfit> misfits() {
    const auto x = [](const Shape& shape) { return random_tensor(shape, 3, DType::f64); };
    const auto i = [](const Shape& shape) { return Tensor::zeros(shape, DType::i64); };
    const auto b = [](const Shape& shape) { return Tensor::zeros(shape, DType::boolean); };
    const auto attend = [x](const Shape& q, const Shape& k, const Shape& v, const Mask& mask) {
        attention(x(q), x(k), x(v), {.num_heads = 3, .mask = mask});
    };
    return {
        {"add",
         [=] {
             add(x({2, 3}), x({2, 4}));
         },
         {"add: ", "[2, 3]", "[2, 4]"}},
        {"sub",
         [=] {
             sub(x({2, 3}), x({5}));
         },
         {"sub: ", "[2, 3]", "[5]"}},
        {"mul",
         [=] {
             mul(x({2, 3}), x({4, 3}));
         },
         {"mul: ", "[2, 3]", "[4, 3]"}},
        {"div", [=] { div(x({7}), x({6})); }, {"div: ", "[7]", "[6]"}},
        {"add_dtypes",
         [=] {
             add(x({2, 3}), x({3}).to(DType::f32));
         },
         {"add: ", "float64 [2, 3]", "float32 [3]"}},
        {"sum_to",
         [=] {
             sum_to(x({2, 3}), {4});
         },
         {"sum_to: ", "[2, 3]", "[4]"}},
        {"sum_axis",
         [=] {
             sum(x({2, 3}), {2});
         },
         {"sum: ", "[2, 3]"}},
        {"sum_axis_twice",
         [=] {
             sum(x({2, 3}), {1, -1});
         },
         {"sum: ", "twice", "[2, 3]"}},
        {"mean_of_nothing",
         [=] {
             mean(x({2, 0}));
         },
         {"mean: ", "[2, 0]"}},
        {"reshape",
         [=] {
             reshape(x({2, 3}), {4, 2});
         },
         {"reshape: ", "[2, 3]", "[4, 2]"}},
        {"reshape_open",
         [=] {
             reshape(x({2, 3}), {4, -1});
         },
         {"reshape: ", "[2, 3]", "[4, -1]"}},
        {"reshape_two_open",
         [=] {
             reshape(x({2, 3}), {-1, -1});
         },
         {"reshape: ", "[2, 3]", "[-1, -1]"}},
        {"permute",
         [=] {
             permute(x({2, 3}), {0, 0});
         },
         {"permute: ", "[2, 3]", "[0, 0]"}},
        {"permute_short",
         [=] {
             permute(x({2, 3}), {1});
         },
         {"permute: ", "[2, 3]", "[1]"}},
        {"broadcast_to",
         [=] {
             broadcast_to(x({2, 3}), {2, 4});
         },
         {"broadcast_to: ", "[2, 3]", "[2, 4]"}},
        {"embedding_rank", [=] { embedding(x({5}), i({2})); }, {"embedding: ", "[5]"}},
        {"embedding_tokens",
         [=] {
             embedding(x({5, 2}), x({3}));
         },
         {"embedding: ", "float64", "[3]"}},
        {"embedding_range",
         [=] {
             embedding(x({5, 2}), Tensor::from({2, 3}, {0, 1, 2, 3, 4, 5}, DType::i64));
         },
         {"embedding: ", "token 5", "[1, 2]", "[0, 5)"}},
        {"dropout", [=] { dropout(x({2}), 1.0, RandomStream(1, "x")); }, {"dropout: ", "1.0"}},
        {"softmax",
         [=] {
             masked_softmax(x({2, 3}), b({2, 4}));
         },
         {"masked_softmax: ", "[2, 3]", "[2, 4]"}},
        {"layer_norm",
         [=] {
             layer_norm(x({2, 3}), x({4}), x({3}));
         },
         {"layer_norm: ", "[2, 3]", "[4]"}},
        {"cross_entropy",
         [=] {
             cross_entropy(x({2, 3}), i({3}));
         },
         {"cross_entropy: ", "[2, 3]", "[3]"}},
        {"cross_entropy_range",
         [=] {
             cross_entropy(x({2, 3}), Tensor::from({2}, {0, 3}, DType::i64));
         },
         {"cross_entropy: ", "3"}},
        {"matmul",
         [=] {
             matmul(x({2, 10, 512}), x({2, 64, 10}));
         },
         {"matmul: ", "[2, 10, 512]", "[2, 64, 10]"}},
        {"matmul_rank",
         [=] {
             matmul(x({3}), x({3, 2}));
         },
         {"matmul: ", "[3]", "[3, 2]"}},
        {"matmul_batch",
         [=] {
             matmul(x({2, 3, 4}), x({5, 4, 6}));
         },
         {"matmul: ", "[2, 3, 4]", "[5, 4, 6]"}},
        {"linear",
         [=] {
             linear(x({2, 3}), x({4, 5}));
         },
         {"linear: ", "[2, 3]", "[4, 5]"}},
        {"linear_bias",
         [=] {
             linear(x({2, 3}), x({4, 3}), x({3}));
         },
         {"linear: ", "[4, 3]", "[3]"}},
        {"attention_batch",
         [=] {
             attend({2, 4, 6}, {3, 5, 6}, {3, 5, 6}, Mask::none());
         },
         {"attention: ", "[2, 4, 6]", "[3, 5, 6]"}},
        {"attention_heads",
         [=] {
             attend({2, 4, 7}, {2, 5, 7}, {2, 5, 6}, Mask::none());
         },
         {"attention: ", "[2, 4, 7]", "3"}},
        {"attention_mask",
         [=] {
             attend({2, 4, 6}, {2, 5, 6}, {2, 5, 6}, Mask::padding(b({2, 4})));
         },
         {"[2, 1, 1, 4]"}},
    };
}

class ShapeErrors : public testing::TestWithParam<Misfit> {};

TEST_P(ShapeErrors, NameTheOpAndTheShapes) {
    const std::string message = test::error_of(GetParam().call);
    for (const std::string& part : GetParam().parts)
        EXPECT_NE(message.find(part), std::string::npos) << '"' << part << "\" is not in: " << message;
}

INSTANTIATE_TEST_SUITE_P(Ops, ShapeErrors, testing::ValuesIn(misfits()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace headscope
