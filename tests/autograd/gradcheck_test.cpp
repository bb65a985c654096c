// Every op against central differences: one row per op and variant. Sizes are distinct, so that a swapped axis shows.
#include "autograd/gradcheck.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <ostream>
#include <tuple>

#include "autograd/ops.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using test::random_tensor;

using Tensors = std::vector<Tensor>;

// The kinks and poles that a row's values stay away from: none; 0; 0, by being above it.
enum class Values { normal, away_from_zero, positive };

struct Row {
    std::string name;
    std::function<Tensors(const Tensors&)> function;
    std::vector<Shape> shapes;
    Values values = Values::normal;

    friend void PrintTo(const Row& row, std::ostream* out) { *out << row.name; }
};

Tensor make_input(const Shape& shape, std::size_t index, Values values) {
    Tensor x = random_tensor(shape, index, DType::f64);
    if (values == Values::away_from_zero)
        for (std::int64_t i = 0; i < x.numel(); ++i) x.data<double>()[i] += std::copysign(0.3, x.data<double>()[i]);
    if (values == Values::positive)
        for (std::int64_t i = 0; i < x.numel(); ++i) x.data<double>()[i] = 0.3 + std::fabs(x.data<double>()[i]);
    return x;
}

// One in three is false.
Tensor some_true(const Shape& shape) {
    Tensor mask = Tensor::empty(shape, DType::boolean);
    for (std::int64_t i = 0; i < mask.numel(); ++i) mask.data<std::uint8_t>()[i] = (i * 7 + 1) % 3 != 0;
    return mask;
}

// [2, 3, 4, 5], where query 2 sees no key at all.
Tensor blind_query() {
    Tensor mask = some_true({2, 3, 4, 5});
    for (std::int64_t slab = 0; slab < 6; ++slab)
        std::fill_n(mask.data<std::uint8_t>() + (slab * 4 + 2) * 5, 5, std::uint8_t{0});
    return mask;
}

Tensors as_list(const AttentionResult& result) { return {result.output, result.weights}; }

using Attention = AttentionResult (*)(const Tensor&, const Tensor&, const Tensor&, const AttentionOptions&);

// q [2, 4, 3 * 2], k [2, 5, 3 * 2], v [2, 5, 3 * 3]: B = 2, Tq = 4, Tk = 5, H = 3, d_k = 2, d_v = 3
void add_attention(std::vector<Row>& rows, const std::string& name, Attention attend) {
    static const RandomStream random(3, "attention");
    const std::vector<Shape> shapes{{2, 4, 6}, {2, 5, 6}, {2, 5, 9}};
    const Tensor padding = Tensor::from({2, 5}, {1, 1, 1, 0, 0, 1, 1, 1, 1, 0}, DType::boolean);
    const auto add = [&](const std::string& variant, const AttentionOptions& options) {
        rows.push_back({name + "_" + variant,
                        [attend, options](const Tensors& x) { return as_list(attend(x[0], x[1], x[2], options)); },
                        shapes});
    };
    add("plain", {.num_heads = 3, .mask = Mask::none()});
    add("weights", {.num_heads = 3, .mask = Mask::none(), .need_weights = true});
    add("causal", {.num_heads = 3, .mask = Mask::causal()});
    add("causal_weights", {.num_heads = 3, .mask = Mask::causal(), .need_weights = true});
    add("padding_weights", {.num_heads = 3, .mask = Mask::padding(padding), .need_weights = true});
    add("visible", {.num_heads = 3, .mask = Mask::visible(blind_query())});
    add("visible_weights", {.num_heads = 3, .mask = Mask::visible(blind_query()), .need_weights = true});
    add("all_masks", {.num_heads = 3,
                      .mask = Mask::causal() & Mask::padding(padding) & Mask::visible(some_true({1, 3, 4, 5})),
                      .need_weights = true});
    add("dropout", {.num_heads = 3, .mask = Mask::causal(), .dropout = 0.4, .random = &random});
    add("dropout_weights",
        {.num_heads = 3, .mask = Mask::none(), .dropout = 0.4, .random = &random, .need_weights = true});
    for (const auto& [variant, kind, alibi] :
         {std::tuple{"alibi", AttentionKind::softmax, true}, std::tuple{"linear", AttentionKind::linear, false},
          std::tuple{"uniform", AttentionKind::uniform, false}}) {
        const std::string prefix = variant;
        add(prefix, {.num_heads = 3, .mask = Mask::none(), .kind = kind, .alibi = alibi});
        add(prefix + "_weights",
            {.num_heads = 3, .mask = Mask::causal(), .need_weights = true, .kind = kind, .alibi = alibi});
        add(prefix + "_visible",
            {.num_heads = 3, .mask = Mask::visible(blind_query()), .need_weights = true, .kind = kind, .alibi = alibi});
        add(prefix + "_dropout", {.num_heads = 3,
                                  .mask = Mask::causal(),
                                  .dropout = 0.4,
                                  .random = &random,
                                  .need_weights = true,
                                  .kind = kind,
                                  .alibi = alibi});
    }
    rows.push_back({name + "_same_input",
                    [attend](const Tensors& x) {
                        return as_list(attend(x[0], x[0], x[0], {.num_heads = 3, .mask = Mask::causal()}));
                    },
                    {{2, 5, 12}}});
}

std::vector<Row> table() {
    const Tensor tokens = Tensor::from({2, 3}, {4, 0, 4, 2, 4, 0}, DType::i64);
    const Tensor targets = Tensor::from({2, 3}, {1, -1, 3, 0, -1, 3}, DType::i64);
    const Tensor unscored = Tensor::full({2, 3}, -1, DType::i64);
    const RandomStream random(5, "dropout");
    const auto at_zero = Values::away_from_zero;
    const auto below_zero = Values::positive;
    const Tensor places = Tensor::from({2, 4, 2}, {0, 2, 2, 2, 1, 0, 0, 0, 1, 1, 2, 0, 1, 1, 2, 1}, DType::i64);

    std::vector<Row> rows{
        {"add", [](const Tensors& x) { return Tensors{x[0] + x[1]}; }, {{2, 3, 5}, {2, 3, 5}}},
        {"add_bias", [](const Tensors& x) { return Tensors{x[0] + x[1]}; }, {{2, 3, 5}, {5}}},
        {"add_both_stretched", [](const Tensors& x) { return Tensors{x[0] + x[1]}; }, {{2, 1, 5}, {3, 1}}},
        {"add_itself", [](const Tensors& x) { return Tensors{x[0] + x[0]}; }, {{2, 3}}},
        {"sub", [](const Tensors& x) { return Tensors{x[0] - x[1]}; }, {{4, 3}, {4, 3}}},
        {"sub_rows", [](const Tensors& x) { return Tensors{x[0] - x[1]}; }, {{4, 3}, {4, 1}}},
        {"mul", [](const Tensors& x) { return Tensors{x[0] * x[1]}; }, {{2, 3, 5}, {2, 3, 5}}},
        {"mul_bias", [](const Tensors& x) { return Tensors{x[0] * x[1]}; }, {{5}, {2, 3, 5}}},
        {"mul_scalar", [](const Tensors& x) { return Tensors{x[0] * x[1]}; }, {{2, 3}, {}}},
        {"mul_middle", [](const Tensors& x) { return Tensors{x[0] * x[1]}; }, {{2, 3, 4, 5}, {2, 1, 4, 1}}},
        {"mul_itself", [](const Tensors& x) { return Tensors{x[0] * x[0]}; }, {{2, 3}}},
        {"div", [](const Tensors& x) { return Tensors{x[0] / x[1]}; }, {{2, 3}, {2, 3}}, at_zero},
        {"div_stretched", [](const Tensors& x) { return Tensors{x[0] / x[1]}; }, {{4, 3}, {2, 1, 3}}, at_zero},
        {"neg", [](const Tensors& x) { return Tensors{-x[0]}; }, {{2, 3}}},
        {"scale", [](const Tensors& x) { return Tensors{1.7 * x[0]}; }, {{2, 3}}},
        {"shift", [](const Tensors& x) { return Tensors{(x[0] + 0.3) * x[0]}; }, {{2, 3}}},

        {"sum", [](const Tensors& x) { return Tensors{sum(x[0])}; }, {{2, 3, 5}}},
        {"sum_first", [](const Tensors& x) { return Tensors{sum(x[0], {0})}; }, {{2, 3, 5}}},
        {"sum_last_kept", [](const Tensors& x) { return Tensors{sum(x[0], {-1}, true)}; }, {{2, 3, 5}}},
        {"sum_outer_and_inner",
         [](const Tensors& x) {
             return Tensors{sum(x[0], {2, 0})};
         },
         {{2, 3, 5, 4}}},
        {"mean", [](const Tensors& x) { return Tensors{mean(x[0])}; }, {{2, 3, 5}}},
        {"mean_middle", [](const Tensors& x) { return Tensors{mean(x[0], {1})}; }, {{2, 3, 5}}},
        {"mean_kept",
         [](const Tensors& x) {
             return Tensors{mean(x[0], {0, 2}, true)};
         },
         {{2, 3, 5}}},
        {"sum_to_bias", [](const Tensors& x) { return Tensors{sum_to(x[0], {5})}; }, {{2, 3, 5}}},
        {"sum_to_middle",
         [](const Tensors& x) {
             return Tensors{sum_to(x[0], {3, 1})};
         },
         {{2, 3, 5}}},
        {"sum_to_same",
         [](const Tensors& x) {
             return Tensors{sum_to(x[0], {2, 3}) * x[0]};
         },
         {{2, 3}}},

        {"reshape",
         [](const Tensors& x) {
             return Tensors{reshape(x[0], {5, -1})};
         },
         {{2, 3, 5}}},
        {"permute",
         [](const Tensors& x) {
             return Tensors{permute(x[0], {2, 0, 1})};
         },
         {{2, 3, 5}}},
        {"permute_heads",
         [](const Tensors& x) {
             return Tensors{permute(x[0], {0, 2, 1, 3})};
         },
         {{2, 5, 3, 4}}},
        {"broadcast_to",
         [](const Tensors& x) {
             return Tensors{broadcast_to(x[0], {4, 2, 3, 5})};
         },
         {{2, 1, 5}}},

        {"feed_forward",
         [](const Tensors& x) {
             return Tensors{feed_forward(x[0], {x[1], x[2], x[3], x[4]}, Activation::gelu, x[5])};
         },
         {{2, 3, 5}, {7, 5}, {7}, {4, 7}, {4}, {2, 3, 4}}},
        {"feed_forward_plain",
         [](const Tensors& x) {
             return Tensors{feed_forward(x[0], {x[1], {}, x[2], {}}, Activation::silu)};
         },
         {{3, 5}, {7, 5}, {4, 7}}},
        {"linear_residual",
         [](const Tensors& x) { return Tensors{linear(x[0], x[1], x[2], x[3])}; },
         {{2, 3, 5}, {4, 5}, {4}, {2, 3, 4}}},
        {"linear_three",
         [](const Tensors& x) {
             const auto y = linear_three(x[0], {x[1], x[2], x[3]}, {x[4], x[5], x[6]});
             return Tensors{y[0], y[1], y[2]};
         },
         {{2, 3, 5}, {4, 5}, {4, 5}, {6, 5}, {4}, {4}, {6}}},
        {"gelu", [](const Tensors& x) { return Tensors{gelu(x[0])}; }, {{3, 7}}},
        {"relu", [](const Tensors& x) { return Tensors{relu(x[0])}; }, {{3, 7}}, at_zero},
        {"silu", [](const Tensors& x) { return Tensors{silu(x[0])}; }, {{3, 7}}},
        {"softmax", [](const Tensors& x) { return Tensors{softmax(x[0])}; }, {{2, 3, 5}}},
        {"masked_softmax",
         [](const Tensors& x) {
             return Tensors{masked_softmax(x[0], some_true({2, 3, 5}))};
         },
         {{2, 3, 5}}},
        {"masked_softmax_stretched",
         [](const Tensors& x) {
             return Tensors{masked_softmax(x[0], some_true({3, 1, 5}))};
         },
         {{2, 3, 4, 5}}},
        {"masked_softmax_blind",
         [](const Tensors& x) { return Tensors{masked_softmax(x[0], blind_query())}; },
         {{2, 3, 4, 5}}},
        {"layer_norm", [](const Tensors& x) { return Tensors{layer_norm(x[0], x[1], x[2])}; }, {{2, 3, 7}, {7}, {7}}},
        {"layer_norm_large_eps",
         [](const Tensors& x) { return Tensors{layer_norm(x[0], x[1], x[2], 0.5)}; },
         {{4, 5}, {5}, {5}}},
        {"layer_norm_unfused",
         [](const Tensors& x) { return Tensors{layer_norm_unfused(x[0], x[1], x[2])}; },
         {{2, 3, 7}, {7}, {7}}},

        {"matmul", [](const Tensors& x) { return Tensors{matmul(x[0], x[1])}; }, {{2, 3}, {3, 5}}},
        {"matmul_ta", [](const Tensors& x) { return Tensors{matmul(x[0], x[1], true)}; }, {{3, 2}, {3, 5}}},
        {"matmul_tb", [](const Tensors& x) { return Tensors{matmul(x[0], x[1], false, true)}; }, {{2, 3}, {5, 3}}},
        {"matmul_ta_tb", [](const Tensors& x) { return Tensors{matmul(x[0], x[1], true, true)}; }, {{3, 2}, {5, 3}}},
        {"matmul_batch", [](const Tensors& x) { return Tensors{matmul(x[0], x[1])}; }, {{4, 2, 3}, {4, 3, 5}}},
        {"matmul_shared_b", [](const Tensors& x) { return Tensors{matmul(x[0], x[1])}; }, {{4, 2, 3}, {3, 5}}},
        {"matmul_shared_a", [](const Tensors& x) { return Tensors{matmul(x[0], x[1])}; }, {{2, 3}, {4, 3, 5}}},
        {"matmul_stretched", [](const Tensors& x) { return Tensors{matmul(x[0], x[1])}; }, {{2, 1, 4, 3}, {6, 3, 5}}},
        {"matmul_stretched_ta",
         [](const Tensors& x) { return Tensors{matmul(x[0], x[1], true)}; },
         {{2, 1, 3, 4}, {6, 3, 5}}},
        {"matmul_stretched_tb",
         [](const Tensors& x) { return Tensors{matmul(x[0], x[1], false, true)}; },
         {{2, 1, 4, 3}, {6, 5, 3}}},
        {"matmul_stretched_ta_tb",
         [](const Tensors& x) { return Tensors{matmul(x[0], x[1], true, true)}; },
         {{2, 1, 3, 4}, {6, 5, 3}}},
        {"linear", [](const Tensors& x) { return Tensors{linear(x[0], x[1])}; }, {{2, 4, 3}, {5, 3}}},
        {"linear_bias", [](const Tensors& x) { return Tensors{linear(x[0], x[1], x[2])}; }, {{2, 4, 3}, {5, 3}, {5}}},

        {"embedding", [tokens](const Tensors& x) { return Tensors{embedding(x[0], tokens)}; }, {{5, 4}}},
        {"cross_entropy", [targets](const Tensors& x) { return Tensors{cross_entropy(x[0], targets)}; }, {{2, 3, 4}}},
        {"cross_entropy_none",
         [unscored](const Tensors& x) { return Tensors{cross_entropy(x[0], unscored)}; },
         {{2, 3, 4}}},
        {"dropout", [random](const Tensors& x) { return Tensors{dropout(x[0], 0.3, random)}; }, {{5, 7}}},
        {"dropout_off", [random](const Tensors& x) { return Tensors{dropout(x[0], 0, random) * x[0]}; }, {{5, 7}}},

        {"exp", [](const Tensors& x) { return Tensors{exp(x[0])}; }, {{3, 7}}},
        {"log", [](const Tensors& x) { return Tensors{log(x[0])}; }, {{3, 7}}, below_zero},
        {"sqrt", [](const Tensors& x) { return Tensors{sqrt(x[0])}; }, {{3, 7}}, below_zero},
        {"tanh", [](const Tensors& x) { return Tensors{tanh(x[0])}; }, {{3, 7}}},
        {"sigmoid", [](const Tensors& x) { return Tensors{sigmoid(x[0])}; }, {{3, 7}}},
        {"pow_0", [](const Tensors& x) { return Tensors{pow(x[0], 0)}; }, {{3, 7}}},
        {"pow_2", [](const Tensors& x) { return Tensors{pow(x[0], 2)}; }, {{3, 7}}},
        {"pow_minus_3", [](const Tensors& x) { return Tensors{pow(x[0], -3)}; }, {{3, 7}}, at_zero},
        {"pow_fraction", [](const Tensors& x) { return Tensors{pow(x[0], 1.7)}; }, {{3, 7}}, below_zero},
        {"pow_tensor", [](const Tensors& x) { return Tensors{pow(x[0], x[1])}; }, {{3, 7}, {3, 7}}, below_zero},
        {"pow_stretched", [](const Tensors& x) { return Tensors{pow(x[0], x[1])}; }, {{3, 7}, {2, 1, 7}}, below_zero},
        {"where",
         [](const Tensors& x) {
             return Tensors{where(some_true({2, 3, 5}), x[0], x[1])};
         },
         {{2, 3, 5}, {2, 3, 5}}},
        {"where_stretched",
         [](const Tensors& x) {
             return Tensors{where(some_true({3, 1}), x[0], x[1])};
         },
         {{2, 1, 5}, {5}}},
        {"masked_fill",
         [](const Tensors& x) {
             return Tensors{masked_fill(x[0], some_true({2, 3, 5}), -7)};
         },
         {{2, 3, 5}}},
        {"masked_fill_stretched",
         [](const Tensors& x) {
             return Tensors{masked_fill(x[0], some_true({3, 1}), 2)};
         },
         {{2, 3, 5}}},

        {"max",
         [](const Tensors& x) { return Tensors{max(x[0])}; },
         {{2, 3, 5}}},  // kinks: ties, which normal values miss
        {"max_middle", [](const Tensors& x) { return Tensors{max(x[0], {1})}; }, {{2, 3, 5}}},
        {"max_outer_and_inner",
         [](const Tensors& x) {
             return Tensors{max(x[0], {2, 0}, true)};
         },
         {{2, 3, 5, 4}}},
        {"logsumexp", [](const Tensors& x) { return Tensors{logsumexp(x[0])}; }, {{2, 3, 5}}},
        {"logsumexp_last", [](const Tensors& x) { return Tensors{logsumexp(x[0], {-1})}; }, {{2, 3, 5}}},
        {"logsumexp_outer_and_inner",
         [](const Tensors& x) {
             return Tensors{logsumexp(x[0], {2, 0}, true)};
         },
         {{2, 3, 5, 4}}},

        {"slice", [](const Tensors& x) { return Tensors{slice(x[0], 1, 1, 4)}; }, {{2, 5, 3}}},
        {"slice_steps", [](const Tensors& x) { return Tensors{slice(x[0], -1, 1, -1, 2)}; }, {{2, 3, 7}}},
        {"slice_nothing",
         [](const Tensors& x) {
             return Tensors{slice(x[0], 0, 1, 1), x[0]};
         },
         {{2, 3}}},
        {"concat",
         [](const Tensors& x) {
             return Tensors{concat({x[0], x[1], x[0]}, 1)};
         },
         {{2, 3, 5}, {2, 1, 5}}},
        {"concat_last",
         [](const Tensors& x) {
             return Tensors{concat({x[0], x[1]}, -1)};
         },
         {{2, 3}, {2, 4}}},
        {"stack",
         [](const Tensors& x) {
             return Tensors{stack({x[0], x[1], x[2]}, 1)};
         },
         {{2, 5}, {2, 5}, {2, 5}}},
        {"stack_last",
         [](const Tensors& x) {
             return Tensors{stack({x[0], x[1]}, -1)};
         },
         {{2, 5}, {2, 5}}},
        {"gather", [places](const Tensors& x) { return Tensors{gather(x[0], 1, places)}; }, {{2, 3, 5}}},
        {"gather_first", [places](const Tensors& x) { return Tensors{gather(x[0], 0, places)}; }, {{3, 4, 2}}},
        {"gather_last", [places](const Tensors& x) { return Tensors{gather(x[0], -1, places)}; }, {{3, 4, 5}}},

        {"softmax_first", [](const Tensors& x) { return Tensors{softmax(x[0], 0)}; }, {{2, 3, 5}}},
        {"log_softmax", [](const Tensors& x) { return Tensors{log_softmax(x[0])}; }, {{2, 3, 5}}},
        {"log_softmax_middle", [](const Tensors& x) { return Tensors{log_softmax(x[0], 1)}; }, {{2, 3, 5}}},
        {"rms_norm", [](const Tensors& x) { return Tensors{rms_norm(x[0], x[1])}; }, {{2, 3, 7}, {7}}},
        {"rms_norm_large_eps", [](const Tensors& x) { return Tensors{rms_norm(x[0], x[1], 0.5)}; }, {{4, 5}, {5}}},
        {"rms_norm_unfused", [](const Tensors& x) { return Tensors{rms_norm_unfused(x[0], x[1])}; }, {{2, 3, 7}, {7}}},
        {"mse", [](const Tensors& x) { return Tensors{mse(x[0], x[1])}; }, {{2, 3, 5}, {2, 3, 5}}},
        {"mse_itself", [](const Tensors& x) { return Tensors{mse(x[0], x[0] * x[0])}; }, {{2, 3}}},
        {"rotary", [](const Tensors& x) { return Tensors{rotary(x[0], 3)}; }, {{2, 5, 12}}},
        {"rotary_other_base", [](const Tensors& x) { return Tensors{rotary(x[0], 2, 7)}; }, {{2, 5, 12}}},
    };
    add_attention(rows, "attention", attention);
    add_attention(rows, "attention_unfused", attention_unfused);
    return rows;
}

class GradcheckTable : public testing::TestWithParam<Row> {};

TEST_P(GradcheckTable, MatchesDifferences) {
    const Row& row = GetParam();
    Tensors inputs;
    for (const Shape& shape : row.shapes)
        inputs.push_back(make_input(shape, inputs.size(), row.values).set_requires_grad());
    const GradcheckResult result = gradcheck(row.function, inputs);
    EXPECT_TRUE(result.ok) << result.message;
    EXPECT_LE(result.worst, 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Ops, GradcheckTable, testing::ValuesIn(table()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace headscope
