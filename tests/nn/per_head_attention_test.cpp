// The textbook form against the fused one: outputs, gradients, and whole training runs.
#include "nn/per_head_attention.h"

#include "tests/nn/random_tensors.h"

namespace headscope::nn {
namespace {

constexpr std::int64_t d_model = 7, num_heads = 3, head_dim = 4;

AttentionModuleOptions options(AttentionKind kind, bool rotary, bool alibi, bool bias, bool fused) {
    AttentionModuleOptions result;
    result.head_dim = head_dim;
    result.kind = kind;
    result.rotary = rotary;
    result.alibi = alibi;
    result.bias = bias;
    result.fused = fused;
    return result;
}

std::vector<AttentionModuleOptions> all_options() {
    return {options(AttentionKind::softmax, false, false, true, true),
            options(AttentionKind::softmax, false, false, false, false),
            options(AttentionKind::softmax, true, false, true, true),
            options(AttentionKind::softmax, false, true, true, true),
            options(AttentionKind::softmax, false, true, true, false),
            options(AttentionKind::linear, false, false, false, true),
            options(AttentionKind::linear, true, false, true, true),
            options(AttentionKind::uniform, false, false, true, true)};
}

std::vector<Mask> masks() {
    Tensor visible = Tensor::full({2, num_heads, 3, 5}, 1, DType::boolean);
    for (std::int64_t i = 0; i < visible.numel(); i += 3) visible.data<std::uint8_t>()[i] = 0;
    const Tensor padding = Tensor::from({2, 5}, {1, 1, 1, 0, 1, 1, 0, 1, 1, 1}, DType::boolean);
    return {Mask::none(), Mask::causal(), Mask::padding(padding), Mask::causal() & Mask::visible(visible)};
}

/// The rows of head h of a [H*d_k, ...] tensor: what the small tensor of that head should be.
Tensor rows_of_head(const Tensor& big, std::int64_t h) { return slice(big, 0, h * head_dim, (h + 1) * head_dim); }

/// Calls body(name, what the fused form has, what the per-head form has) for every parameter, or every gradient.
template <class Body>
void for_each_pair(const MultiHeadAttention& fused, const PerHeadAttention& per_head, bool gradients, Body&& body) {
    const auto pick = [&](const Tensor& x) { return gradients ? x.grad() : x.detach(); };
    const auto compare = [&](const std::string& name, const Tensor& big, const Tensor& small, std::int64_t h) {
        if (big.defined()) body(name, rows_of_head(pick(big), h), pick(small));
    };
    for (std::int64_t h = 0; h < fused.num_heads(); ++h) {
        const auto& head = *per_head.heads[static_cast<std::size_t>(h)];
        const std::string path = "heads." + std::to_string(h) + ".";
        compare(path + "W_q.weight", fused.W_q.weight, head.W_q.weight, h);
        compare(path + "W_k.weight", fused.W_k.weight, head.W_k.weight, h);
        compare(path + "W_v.weight", fused.W_v.weight, head.W_v.weight, h);
        compare(path + "W_q.bias", fused.W_q.bias, head.W_q.bias, h);
        compare(path + "W_k.bias", fused.W_k.bias, head.W_k.bias, h);
        compare(path + "W_v.bias", fused.W_v.bias, head.W_v.bias, h);
    }
    body("W_o.weight", pick(fused.W_o.weight), pick(per_head.W_o.weight));
    if (fused.W_o.bias.defined()) body("W_o.bias", pick(fused.W_o.bias), pick(per_head.W_o.bias));
}

TEST(PerHeadAttention, SameOutputsAndGradients) {
    for (const AttentionModuleOptions& option : all_options())
        for (const Mask& mask : masks()) {
            MultiHeadAttention fused(d_model, num_heads, option);
            fused.to(DType::f64);
            randomise(fused, 10);
            const auto per_head = to_per_head(fused);
            std::vector<Tensor> inputs{random_tensor({2, 3, d_model}, 1, DType::f64),
                                       random_tensor({2, 5, d_model}, 2, DType::f64),
                                       random_tensor({2, 5, d_model}, 3, DType::f64)};
            std::vector<std::vector<Tensor>> input_gradients;
            const auto run = [&](auto& module) {
                std::vector<Tensor> leaves;
                for (const Tensor& input : inputs) leaves.push_back(input.clone().set_requires_grad());
                const auto result = module.forward(leaves[0], leaves[1], leaves[2], mask);
                backward(random_loss(result.output, 4) + random_loss(result.attention_weights, 5));
                input_gradients.push_back({leaves[0].grad(), leaves[1].grad(), leaves[2].grad()});
                return result;
            };
            const auto a = run(fused), b = run(*per_head);
            EXPECT_LT(distance(a.output, b.output), 1e-13);
            EXPECT_LT(distance(a.attention_weights, b.attention_weights), 1e-14);
            for (std::size_t i = 0; i < 3; ++i)
                EXPECT_LT(distance(input_gradients[0][i], input_gradients[1][i]), 1e-12);
            for_each_pair(fused, *per_head, true, [](const std::string& name, const Tensor& big, const Tensor& small) {
                EXPECT_LT(distance(big, small), 1e-12) << name;
            });
        }
}

TEST(PerHeadAttention, Names) {
    PerHeadAttention attention(d_model, 2, {.head_dim = head_dim});
    std::vector<std::string> names;
    for (const Parameter& parameter : attention.named_parameters())
        names.push_back(parameter.name + " " + parameter.tensor.shape().str());
    EXPECT_EQ(names, (std::vector<std::string>{
                         "heads.0.W_q.weight [4, 7]", "heads.0.W_q.bias [4]", "heads.0.W_k.weight [4, 7]",
                         "heads.0.W_k.bias [4]", "heads.0.W_v.weight [4, 7]", "heads.0.W_v.bias [4]",
                         "heads.1.W_q.weight [4, 7]", "heads.1.W_q.bias [4]", "heads.1.W_k.weight [4, 7]",
                         "heads.1.W_k.bias [4]", "heads.1.W_v.weight [4, 7]", "heads.1.W_v.bias [4]",
                         "W_o.weight [7, 8]", "W_o.bias [7]"}));
}

TEST(PerHeadAttention, ThereAndBackIsTheSame) {
    for (const bool bias : {false, true})
        for (const DType dtype : {DType::f32, DType::f64}) {
            MultiHeadAttention fused(d_model, num_heads, {.head_dim = head_dim, .bias = bias});
            fused.to(dtype);
            randomise(fused, 10);
            const auto per_head = to_per_head(fused);
            const auto back = from_per_head(*per_head);
            for (const auto& [name, value] : fused.state_dict())
                EXPECT_TRUE(same_bits(back->state_dict().at(name), value)) << name;
            EXPECT_EQ(back->state_dict().size(), fused.state_dict().size());
            fused.W_q.weight.fill_(0);  // copies, not views
            EXPECT_GT(largest(per_head->heads[0]->W_q.weight), 0);
        }
}

TEST(PerHeadAttention, Dropout) {
    PerHeadAttention attention(d_model, num_heads, {.head_dim = head_dim, .dropout = 0.5});
    const Tensor x = random_tensor({2, 5, d_model}, 1);
    const auto output = [&](std::uint64_t step) {
        RandomScope scope(1, step);
        return attention.forward(x, x, x).output;
    };
    EXPECT_TRUE(same_bits(output(1), output(1)));
    EXPECT_FALSE(same_bits(output(1), output(2)));
    attention.eval();
    EXPECT_TRUE(same_bits(output(1), output(2)));
}

TEST(PerHeadAttention, Errors) {
    EXPECT_HAS(error_of([] { PerHeadAttention(10, 3); }), "PerHeadAttention: num_heads must divide d_model");
    EXPECT_HAS(error_of([] { PerHeadAttention(10, 0); }), "num_heads is 0");
    EXPECT_HAS(error_of([] { PerHeadAttention(10, 2, {.rotary = true}); }), "head_dim is 5");
    PerHeadAttention attention(d_model, num_heads, {.head_dim = head_dim});
    const Tensor x = random_tensor({2, 5, d_model}, 1);
    for (const std::int64_t heads : {num_heads - 1, num_heads + 1}) {
        const Mask mask = Mask::visible(Tensor::full({2, heads, 5, 5}, 1, DType::boolean));
        EXPECT_HAS(error_of([&] { attention.forward(x, x, x, mask); }),
                   "one head or all; the mask is [2, " + std::to_string(heads) + ", 5, 5], num_heads is 3");
    }
}

}  // namespace
}  // namespace headscope::nn
