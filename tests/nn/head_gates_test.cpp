#include "nn/head_gates.h"

#include "autograd/gradcheck.h"
#include "nn/transformer.h"
#include "tests/nn/random_tensors.h"

namespace headscope::nn {
namespace {

TEST(HeadGates, MultiplyEachHead) {
    HeadGates gates(3);
    EXPECT_EQ(gates.weight.shape().str(), "[3]");
    for (std::int64_t h = 0; h < 3; ++h) gates.weight.data<float>()[h] = static_cast<float>(h) - 0.5F;
    const Tensor x = random_tensor({2, 5, 12}, 1), y = gates.forward(x);
    ASSERT_EQ(y.shape().str(), "[2, 5, 12]");
    for (std::int64_t row = 0; row < 10; ++row)
        for (std::int64_t c = 0; c < 12; ++c) {
            const float factor = static_cast<float>(c / 4) - 0.5F;
            EXPECT_EQ(y.data<float>()[row * 12 + c], x.data<float>()[row * 12 + c] * factor);
        }
}

TEST(HeadGates, Gradient) {
    HeadGates gates(3);
    MultiHeadAttention attention(7, 3, {.head_dim = 4});
    gates.to(DType::f64);
    attention.to(DType::f64);
    randomise(attention, 1);
    randomise(gates, 50);
    const Guest guest = gates.attach(attention);
    std::vector<Tensor> inputs{random_tensor({2, 5, 7}, 2, DType::f64).set_requires_grad(), gates.weight};
    for (const Parameter& parameter : attention.named_parameters()) inputs.push_back(parameter.tensor);
    const GradcheckResult result = gradcheck(
        [&](const std::vector<Tensor>& in) {
            return std::vector{attention.forward(in[0], in[0], in[0], Mask::causal(), false).output};
        },
        inputs);
    EXPECT_TRUE(result.ok) << result.message;
}

/// Gates on every block of a small model.
struct Gated {
    Gated() {
        TransformerOptions options;
        options.vocab_size = 7;
        options.max_len = 6;
        options.num_layers = 2;
        options.block.d_model = 10;
        options.block.num_heads = 3;
        options.block.head_dim = 5;
        options.block.d_ff = 9;
        model = std::make_unique<Transformer>(options);
        for (std::size_t l = 0; l < 2; ++l) gates.push_back(std::make_unique<HeadGates>(3));
    }
    void use(bool on) {
        guests.clear();
        for (std::size_t l = 0; on && l < 2; ++l) guests.push_back(gates[l]->attach(model->blocks[l]->attn));
    }
    void to(DType dtype) {
        model->to(dtype);
        for (auto& gate : gates) gate->to(dtype);
    }
    /// Loss after a backward pass.
    Tensor step() {
        model->zero_grad();
        for (auto& gate : gates) gate->zero_grad();
        const Tensor loss = cross_entropy(model->forward(random_tokens({3, 6}, 7, 1)), random_tokens({3, 6}, 7, 2));
        backward(loss);
        return loss;
    }
    std::unique_ptr<Transformer> model;
    std::vector<std::unique_ptr<HeadGates>> gates;
    std::vector<Guest> guests;
};

TEST(HeadGates, GradientAtOneIsThatOfTheOutputBlock) {
    Gated gated;
    gated.to(DType::f64);
    randomise(*gated.model, 10);
    gated.use(true);
    gated.step();
    for (std::size_t l = 0; l < 2; ++l)
        for (std::int64_t h = 0; h < 3; ++h) {
            const HeadSlice block = head_slice(gated.model->blocks[l]->attn, h, Projection::o);
            const double identity = sum(mul(block.values(), block.gradient())).item();
            EXPECT_NEAR(gated.gates[l]->weight.grad().at({h}), identity, 1e-10) << l << ", " << h;
            EXPECT_GT(std::abs(identity), 1e-5);
        }
}

TEST(HeadGates, AtOneTheyChangeNothing) {
    Gated gated;
    const Tensor without = gated.step();
    const Tensor gradient = gated.model->embedding.weight.grad().clone();
    EXPECT_FALSE(gated.gates[0]->weight.grad().defined());
    gated.use(true);
    EXPECT_TRUE(same_bits(gated.step(), without));
    EXPECT_TRUE(same_bits(gated.model->embedding.weight.grad(), gradient));
    EXPECT_GT(largest(gated.gates[0]->weight.grad()), 0);
    EXPECT_EQ(gated.model->state_dict().count("blocks.0.attn.gates.weight"), 0U);
    gated.gates[0]->weight.fill_(0.5);
    EXPECT_FALSE(same_bits(gated.step(), without));
    gated.use(false);
    EXPECT_TRUE(same_bits(gated.step(), without));
}

TEST(HeadGates, AClosedGateIsABlockOfZeros) {
    Gated gated;
    gated.gates[1]->weight.data<float>()[2] = 0;
    gated.use(true);
    const Tensor closed = gated.step();
    gated.use(false);
    const HeadSlice block = head_slice(gated.model->blocks[1]->attn, 2, Projection::o);
    block.assign(Tensor::zeros({block.rows, block.cols}));
    EXPECT_LT(distance(gated.step(), closed), 1e-6);
}

TEST(HeadGates, LooksSeeWhatTheOutputProjectionIsGiven) {
    MultiHeadAttention attention(6, 2);
    HeadGates gates(2);
    gates.weight.data<float>()[1] = 0;
    const Guest guest = gates.attach(attention);
    Tensor heads;
    const Guest look = attention.heads.look([&](const Tensor& seen) { heads = seen; });
    const Tensor x = random_tensor({2, 5, 6}, 1);
    const Tensor output = attention.forward(x, x, x).output;
    EXPECT_TRUE(same_bits(attention.W_o.forward(heads), output));
    EXPECT_EQ(heads.at({1, 2, 3}), 0);
    EXPECT_NE(heads.at({1, 2, 2}), 0);
}

/// Gates, an edit and two looks at the same point: each does its part, and each leaves alone.
TEST(HeadGates, LiveBesideOtherGuests) {
    MultiHeadAttention attention(6, 2);
    HeadGates gates(2);
    gates.weight.data<float>()[0] = 0;
    const Tensor x = random_tensor({2, 5, 6}, 1);
    Tensor plain, first, second;
    {
        const Guest look = attention.heads.look([&](const Tensor& seen) { plain = seen; });
        attention.forward(x, x, x);
    }
    Guest closing = gates.attach(attention);
    Guest doubling = attention.heads.edit([](const Tensor& heads) { return heads * 2; });
    const Guest one = attention.heads.look([&](const Tensor& seen) { first = seen; });
    Guest other = attention.heads.look([&](const Tensor& seen) { second = seen; });
    EXPECT_EQ(attention.guest_leaves().size(), 1U);
    EXPECT_EQ(attention.guest_leaves()[0].id(), gates.weight.id());
    attention.forward(x, x, x);
    EXPECT_TRUE(same_bits(first, second));
    EXPECT_EQ(first.at({1, 2, 2}), 0);
    EXPECT_EQ(first.at({1, 2, 3}), 2 * plain.at({1, 2, 3}));
    closing.leave();
    EXPECT_TRUE(attention.guest_leaves().empty());
    other.leave();
    second = Tensor();
    attention.forward(x, x, x);
    EXPECT_TRUE(same_bits(first, plain * 2));
    EXPECT_FALSE(second.defined());
}

TEST(HeadGates, Errors) {
    MultiHeadAttention attention(6, 2);
    HeadGates gates(3);
    EXPECT_HAS(error_of([&] { gates.attach(attention).leave(); }), "num_heads is 2, the gates are [3]");
    EXPECT_HAS(error_of([&] { gates.forward(random_tensor({2, 5, 7}, 1)); }), "[2, 5, 7]");
    EXPECT_HAS(error_of([] { HeadGates none(0); }), "at least 1");
}

}  // namespace
}  // namespace headscope::nn
