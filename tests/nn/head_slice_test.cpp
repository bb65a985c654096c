#include "nn/multi_head_attention.h"
#include "tests/nn/random_tensors.h"

namespace headscope::nn {
namespace {

constexpr std::int64_t d_model = 7, num_heads = 3, head_dim = 4;

struct HeadSliceTest : ::testing::Test {
    HeadSliceTest() : attention(d_model, num_heads, {.head_dim = head_dim}) { randomise(attention, 1); }
    MultiHeadAttention attention;
};

TEST_F(HeadSliceTest, RowsOfQKVAndColumnsOfO) {
    const Linear* linears[] = {&attention.W_q, &attention.W_k, &attention.W_v, &attention.W_o};
    for (std::int64_t h = 0; h < num_heads; ++h)
        for (const Projection p : projections) {
            const HeadSlice slice = head_slice(attention, h, p);
            const Tensor& weight = linears[static_cast<int>(p)]->weight;
            EXPECT_EQ(slice.weight.id(), weight.id());
            const bool o = p == Projection::o;
            const Tensor values = slice.values();
            ASSERT_EQ(values.shape(), (o ? Shape{d_model, head_dim} : Shape{head_dim, d_model}));
            for (std::int64_t r = 0; r < values.size(0); ++r)
                for (std::int64_t c = 0; c < values.size(1); ++c)
                    EXPECT_EQ(values.at({r, c}),
                              o ? weight.at({r, h * head_dim + c}) : weight.at({h * head_dim + r, c}));
        }
}

TEST_F(HeadSliceTest, GradientIsThatBlockOfTheGradient) {
    EXPECT_HAS(error_of([&] { head_slice(attention, 1, Projection::v).gradient(); }), "gradient");
    const Tensor x = random_tensor({2, 5, d_model}, 2);
    backward(random_loss(attention.forward(x, x, x).output, 3));
    const Tensor v = head_slice(attention, 1, Projection::v).gradient(),
                 o = head_slice(attention, 2, Projection::o).gradient();
    EXPECT_EQ(v.at({3, 6}), attention.W_v.weight.grad().at({7, 6}));
    EXPECT_EQ(o.at({6, 1}), attention.W_o.weight.grad().at({6, 9}));
    EXPECT_GT(largest(v), 0);
}

TEST_F(HeadSliceTest, AssignTouchesThatBlockOnly) {
    for (const Projection p : projections) {
        const HeadSlice middle = head_slice(attention, 1, p);
        const Tensor first = head_slice(attention, 0, p).values(), last = head_slice(attention, 2, p).values();
        const Tensor values = random_tensor({middle.rows, middle.cols}, 9);
        middle.assign(values);
        EXPECT_TRUE(same_bits(middle.values(), values)) << name_of(p);
        EXPECT_TRUE(same_bits(head_slice(attention, 0, p).values(), first)) << name_of(p);
        EXPECT_TRUE(same_bits(head_slice(attention, 2, p).values(), last)) << name_of(p);
    }
}

TEST_F(HeadSliceTest, WorksInF64) {
    attention.to(DType::f64);
    const HeadSlice slice = head_slice(attention, 2, Projection::o);
    const Tensor values = random_tensor({slice.rows, slice.cols}, 9, DType::f64);
    slice.assign(values);
    EXPECT_TRUE(same_bits(slice.values(), values));
    EXPECT_EQ(attention.W_o.weight.at({1, 2 * head_dim + 3}), values.at({1, 3}));
}

TEST_F(HeadSliceTest, Errors) {
    EXPECT_HAS(error_of([&] { head_slice(attention, 3, Projection::q); }), "no head 3");
    EXPECT_HAS(error_of([&] { head_slice(attention, -1, Projection::q); }), "no head -1");
    const HeadSlice slice = head_slice(attention, 0, Projection::q);
    EXPECT_HAS(error_of([&] { slice.assign(Tensor::zeros({d_model, head_dim})); }), "[7, 4]");
    EXPECT_HAS(error_of([&] { slice.assign(Tensor::zeros({head_dim, d_model}, DType::f64)); }), "float64");
}

}  // namespace
}  // namespace headscope::nn
