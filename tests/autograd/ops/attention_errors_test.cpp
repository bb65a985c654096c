// What attention says when its arguments do not fit.
#include <gtest/gtest.h>

#include <string>

#include "autograd/ops/attention.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using test::error_of;
using test::random_tensor;

TEST(AttentionErrors, MisfitsAreExplained) {
    const RandomStream random(1, "x");
    const auto error = [](const Shape& q, const Shape& k, const Shape& v, const AttentionOptions& options) {
        const auto call = [&](auto f) {
            return error_of([&] { f(random_tensor(q, 1), random_tensor(k, 2), random_tensor(v, 3), options); });
        };
        EXPECT_EQ(call(attention), call(attention_unfused));
        return call(attention);
    };
    const auto text = [](const std::string& what, const char* q, const char* k, const char* v, int heads) {
        return "attention: " + what + "; q is " + q + ", k is " + k + ", v is " + v + ", num_heads is " +
               std::to_string(heads);
    };
    EXPECT_EQ(error({10, 512}, {2, 10, 512}, {2, 10, 512}, {.num_heads = 8}),
              text("q, k and v must be [B, T, H*d]", "[10, 512]", "[2, 10, 512]", "[2, 10, 512]", 8));
    EXPECT_EQ(error({2, 5, 12}, {2, 7, 12}, {2, 7, 12}, {.num_heads = 5}),
              text("the number of heads does not divide the last axis", "[2, 5, 12]", "[2, 7, 12]", "[2, 7, 12]", 5));
    EXPECT_EQ(error({2, 5, 12}, {2, 7, 12}, {2, 7, 13}, {.num_heads = 3}),
              text("the number of heads does not divide the last axis", "[2, 5, 12]", "[2, 7, 12]", "[2, 7, 13]", 3));
    EXPECT_EQ(error({2, 5, 12}, {2, 7, 12}, {2, 7, 12}, {.num_heads = 0}),
              text("the number of heads does not divide the last axis", "[2, 5, 12]", "[2, 7, 12]", "[2, 7, 12]", 0));
    EXPECT_EQ(error({2, 5, 12}, {2, 7, 15}, {2, 7, 12}, {.num_heads = 3}),
              text("q and k must have the same width", "[2, 5, 12]", "[2, 7, 15]", "[2, 7, 12]", 3));
    EXPECT_EQ(error({2, 5, 12}, {3, 7, 12}, {3, 7, 12}, {.num_heads = 3}),
              text("the batch sizes differ", "[2, 5, 12]", "[3, 7, 12]", "[3, 7, 12]", 3));
    EXPECT_EQ(error({2, 5, 12}, {2, 7, 12}, {2, 8, 12}, {.num_heads = 3}),
              text("k and v must have the same length", "[2, 5, 12]", "[2, 7, 12]", "[2, 8, 12]", 3));
    EXPECT_EQ(error({2, 5, 12}, {2, 7, 12}, {2, 7, 12}, {.num_heads = 3, .dropout = 1, .random = &random}),
              text("dropout must be in [0, 1)", "[2, 5, 12]", "[2, 7, 12]", "[2, 7, 12]", 3));
    EXPECT_EQ(error({2, 5, 12}, {2, 7, 12}, {2, 7, 12}, {.num_heads = 3, .dropout = 0.5}),
              text("dropout needs a random stream", "[2, 5, 12]", "[2, 7, 12]", "[2, 7, 12]", 3));
    EXPECT_EQ(error({2, 5, 12}, {2, 7, 12}, {2, 7, 12}, {.num_heads = 3, .kind = AttentionKind::linear, .alibi = true}),
              text("alibi is added to the scores of a softmax; linear and uniform attention have none", "[2, 5, 12]",
                   "[2, 7, 12]", "[2, 7, 12]", 3));
    EXPECT_EQ(error({2, 5, 12}, {2, 7, 12}, {2, 7, 12}, {.num_heads = 3, .alibi_first = 2, .alibi_heads = 4}),
              text("alibi_first is 2 of 4 heads", "[2, 5, 12]", "[2, 7, 12]", "[2, 7, 12]", 3));
    EXPECT_EQ(error_of([] {
                  const Tensor wide = random_tensor({2, 5, 12}, 1, DType::f64);
                  attention(random_tensor({2, 5, 12}, 1), wide, wide, {.num_heads = 3});
              }),
              text("the dtypes of q, k and v differ", "[2, 5, 12]", "[2, 5, 12]", "[2, 5, 12]", 3));
}

TEST(AttentionErrors, MasksThatDoNotFit) {
    const Tensor q = random_tensor({2, 5, 12}, 1);
    const Tensor k = random_tensor({2, 7, 12}, 2);
    const auto error = [&](const Mask& mask) {
        return error_of([&] { attention(q, k, k, {.num_heads = 3, .mask = mask}); });
    };
    const auto truth = [](const Shape& shape) { return Tensor::full(shape, 1, DType::boolean); };
    EXPECT_EQ(error(Mask::visible(truth({2, 3, 5, 6}))),
              "attention: the mask [2, 3, 5, 6] does not fit the scores [B, H, Tq, Tk] = [2, 3, 5, 7]");
    EXPECT_EQ(error(Mask::visible(truth({2, 3, 5, 1}))),
              "attention: the mask [2, 3, 5, 1] does not fit the scores [B, H, Tq, Tk] = [2, 3, 5, 7]");
    EXPECT_EQ(error(Mask::visible(truth({2, 2, 5, 7}))),
              "attention: the mask [2, 2, 5, 7] does not fit the scores [B, H, Tq, Tk] = [2, 3, 5, 7]");
    EXPECT_EQ(error(Mask::padding(truth({3, 7}))),
              "attention: the mask [3, 1, 1, 7] does not fit the scores [B, H, Tq, Tk] = [2, 3, 5, 7]");
    EXPECT_EQ(error_of([] {
                  Mask::padding(Tensor::zeros({2, 7}));
              }),
              "mask: padding needs a bool tensor [B, Tk]; it was given float32 [2, 7]");
    EXPECT_EQ(error_of([&] {
                  Mask::visible(truth({5, 7}));
              }),
              "mask: visible needs a bool tensor [B|1, H|1, Tq, Tk]; it was given bool [5, 7]");
    EXPECT_EQ(error_of([&] {
                  Mask::visible(truth({1, 1, 5, 7})) & Mask::padding(truth({2, 6}));
              }),
              "mask: the shapes do not broadcast; a is [1, 1, 5, 7], b is [2, 1, 1, 6]; sizes of an axis, counted from "
              "the end, must be equal or 1");
}

}  // namespace
}  // namespace headscope
