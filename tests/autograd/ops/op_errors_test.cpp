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
        {"pow",
         [=] {
             pow(x({2, 3}), x({2, 4}));
         },
         {"pow: ", "[2, 3]", "[2, 4]"}},
        {"exp",
         [=] {
             exp(i({2, 3}));
         },
         {"exp: ", "int64"}},
        {"where",
         [=] {
             where(b({2, 4}), x({2, 3}), x({3}));
         },
         {"where: ", "[2, 4]", "[2, 3]"}},
        {"where_condition",
         [=] {
             where(x({2, 3}), x({2, 3}), x({3}));
         },
         {"where: ", "float64 [2, 3]", "bool"}},
        {"where_dtypes",
         [=] {
             where(b({2, 3}), x({2, 3}), x({3}).to(DType::f32));
         },
         {"where: ", "float64 [2, 3]", "float32 [3]"}},
        {"masked_fill",
         [=] {
             masked_fill(x({2, 3}), b({4, 2, 3}), 0);
         },
         {"masked_fill: ", "[2, 3]", "[4, 2, 3]"}},
        {"masked_fill_mask",
         [=] {
             masked_fill(x({2, 3}), i({2, 3}), 0);
         },
         {"masked_fill: ", "int64 [2, 3]", "bool"}},
        {"max_axis",
         [=] {
             max(x({2, 3}), {2});
         },
         {"max: ", "[2, 3]"}},
        {"max_of_nothing",
         [=] {
             max(x({2, 0}), {1});
         },
         {"max: ", "nothing", "[2, 0]"}},
        {"logsumexp_axis_twice",
         [=] {
             logsumexp(x({2, 3}), {0, -2});
         },
         {"logsumexp: ", "twice", "[2, 3]"}},
        {"slice_axis",
         [=] {
             slice(x({2, 3}), 2, 0, 1);
         },
         {"slice: ", "[2, 3]"}},
        {"slice_end",
         [=] {
             slice(x({2, 3}), 1, 1, 4);
         },
         {"slice: ", "[1, 4)", "[2, 3]"}},
        {"slice_backwards",
         [=] {
             slice(x({2, 7}), 1, 5, 3);
         },
         {"slice: ", "[5, 3)", "[2, 7]"}},
        {"slice_step",
         [=] {
             slice(x({2, 7}), 1, 0, 3, 0);
         },
         {"slice: ", "steps of 0", "[2, 7]"}},
        {"concat_none", [=] { concat({}, 0); }, {"concat: ", "no tensors"}},
        {"concat",
         [=] {
             concat({x({2, 3}), x({2, 4})}, 0);
         },
         {"concat: ", "[2, 3]", "tensor 1", "[2, 4]"}},
        {"concat_rank",
         [=] {
             concat({x({2, 3}), x({2})}, 0);
         },
         {"concat: ", "[2, 3]", "[2]"}},
        {"concat_dtypes",
         [=] {
             concat({x({2, 3}), i({2, 3})}, 0);
         },
         {"concat: ", "float64 [2, 3]", "int64 [2, 3]"}},
        {"concat_scalar",
         [=] {
             concat({x({}), x({})}, 0);
         },
         {"concat: ", "[]"}},
        {"stack_none", [=] { stack({}, 0); }, {"stack: ", "no tensors"}},
        {"stack",
         [=] {
             stack({x({2, 3}), x({2, 3}), x({3})}, 0);
         },
         {"stack: ", "[2, 3]", "tensor 2", "[3]"}},
        {"stack_axis",
         [=] {
             stack({x({2, 3})}, 3);
         },
         {"stack: ", "axis 3", "[2, 3]"}},
        {"gather_rank",
         [=] {
             gather(x({2, 3}), 1, i({2}));
         },
         {"gather: ", "[2, 3]", "[2]"}},
        {"gather_size",
         [=] {
             gather(x({2, 3}), 1, i({4, 3}));
         },
         {"gather: ", "[2, 3]", "[4, 3]", "axis 0"}},
        {"gather_index",
         [=] {
             gather(x({2, 3}), 1, x({2, 3}));
         },
         {"gather: ", "float64", "int64"}},
        {"gather_range",
         [=] {
             gather(x({2, 3}), 1, Tensor::from({2, 2}, {0, 1, 3, 0}, DType::i64));
         },
         {"gather: ", "index 3", "[1, 0]", "[0, 3)"}},
        {"gather_below",
         [=] {
             gather(x({2, 3}), 0, Tensor::from({1, 2}, {0, -1}, DType::i64));
         },
         {"gather: ", "index -1", "[0, 1]", "[0, 2)"}},
        {"softmax_axis",
         [=] {
             softmax(x({2, 3}), 2);
         },
         {"softmax: ", "[2, 3]"}},
        {"log_softmax_axis",
         [=] {
             log_softmax(x({2, 3}), -3);
         },
         {"log_softmax: ", "[2, 3]"}},
        {"log_softmax_empty",
         [=] {
             log_softmax(x({2, 0}));
         },
         {"log_softmax: ", "[2, 0]"}},
        {"rms_norm",
         [=] {
             rms_norm(x({2, 3}), x({4}));
         },
         {"rms_norm: ", "[2, 3]", "[4]"}},
        {"rms_norm_eps",
         [=] {
             rms_norm(x({2, 3}), x({3}), -1);
         },
         {"rms_norm: ", "eps"}},
        {"rms_norm_dtypes",
         [=] {
             rms_norm_unfused(x({2, 3}), x({3}).to(DType::f32));
         },
         {"rms_norm: ", "float64", "float32"}},
        {"mse",
         [=] {
             mse(x({2, 3}), x({3}));
         },
         {"mse: ", "[2, 3]", "[3]"}},
        {"mse_dtypes",
         [=] {
             mse(x({2, 3}), x({2, 3}).to(DType::f32));
         },
         {"mse: ", "dtypes", "[2, 3]"}},
        {"mse_of_nothing",
         [=] {
             mse(x({2, 0}), x({2, 0}));
         },
         {"mse: ", "nothing", "[2, 0]"}},
        {"rotary_rank",
         [=] {
             rotary(x({5, 12}), 3);
         },
         {"rotary: ", "[5, 12]", "[B, T, H*d]"}},
        {"rotary_heads",
         [=] {
             rotary(x({2, 5, 12}), 5);
         },
         {"rotary: ", "[2, 5, 12]", "num_heads is 5"}},
        {"rotary_odd",
         [=] {
             rotary(x({2, 5, 9}), 3);
         },
         {"rotary: ", "even", "[2, 5, 9]", "num_heads is 3"}},
        {"rotary_base",
         [=] {
             rotary(x({2, 5, 12}), 3, 0);
         },
         {"rotary: ", "base"}},
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
