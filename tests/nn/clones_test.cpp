// Heads that start as bitwise clones see the same inputs and the same loss, so they must get the same gradients and
// stay clones: whatever their place in the big matrices, the sizes, and the number of threads.
#include "autograd/parallel.h"
#include "nn/init.h"
#include "nn/transformer.h"
#include "tests/nn/random_tensors.h"

namespace headscope::nn {
namespace {

struct Case {
    const char* name;
    bool adam;
    int steps;
    AttentionKind attention = AttentionKind::softmax;
    PositionEncoding position = PositionEncoding::learned;
};

// Not alibi: there every head has a slope of its own.
constexpr Case cases[] = {{"sgd", false, 200},
                          {"adam", true, 200},
                          {"linear", true, 60, AttentionKind::linear},
                          {"uniform", true, 60, AttentionKind::uniform},
                          {"rotary", true, 60, AttentionKind::softmax, PositionEncoding::rotary},
                          {"linear_rotary", false, 60, AttentionKind::linear, PositionEncoding::rotary}};

TransformerOptions odd_sizes(const Case& c) {
    TransformerOptions options;
    options.vocab_size = 17;
    options.max_len = 11;
    options.num_layers = 2;
    options.block.d_model = 50;
    options.block.num_heads = 3;
    options.block.head_dim = c.position == PositionEncoding::rotary ? 14 : 13;
    options.block.d_ff = 31;
    options.block.attention = c.attention;
    options.position = c.position;
    return options;
}

void expect_clones(const MultiHeadAttention& attention, int step) {
    for (const Projection p : projections) {
        const HeadSlice first = head_slice(attention, 0, p);
        for (std::int64_t h = 1; h < attention.num_heads(); ++h) {
            const HeadSlice other = head_slice(attention, h, p);
            ASSERT_TRUE(same_bits(other.values(), first.values())) << name_of(p) << h << " at step " << step;
            ASSERT_TRUE(same_bits(other.gradient(), first.gradient()))
                << "gradient of " << name_of(p) << h << " at step " << step;
        }
    }
    for (const Linear* linear : {&attention.W_q, &attention.W_k, &attention.W_v})
        for (std::int64_t i = 0; i < linear->bias.numel(); ++i) {
            const std::int64_t twin = i % attention.head_dim();
            ASSERT_EQ(linear->bias.at({i}), linear->bias.at({twin})) << step;
            ASSERT_EQ(linear->bias.grad().at({i}), linear->bias.grad().at({twin})) << step;
        }
}

/// Plain gradient descent, or Adam, which blows the smallest difference up to a full step.
struct Update {
    bool adam;
    std::vector<std::vector<float>> first = {}, second = {};

    void operator()(std::vector<Parameter>& parameters) {
        first.resize(parameters.size());
        second.resize(parameters.size());
        for (std::size_t p = 0; p < parameters.size(); ++p) {
            Tensor& x = parameters[p].tensor;
            const auto count = static_cast<std::size_t>(x.numel());
            first[p].resize(count);
            second[p].resize(count);
            for (std::size_t i = 0; i < count; ++i) {
                const float g = x.grad().data<float>()[i];
                float &m = first[p][i], &v = second[p][i];
                m = 0.9F * m + 0.1F * g;
                v = 0.99F * v + 0.01F * g * g;
                x.data<float>()[i] -= adam ? 0.003F * m / (std::sqrt(v) + 1e-8F) : 0.3F * g;
            }
        }
    }
};

StateDict trained(const Case& c, int threads) {
    set_num_threads(threads);
    Transformer model(odd_sizes(c));
    initialize(model, {.scheme = InitScheme::pytorch, .embedding_std = 0.5, .clone_heads = {'q', 'k', 'v', 'o'}}, 3);
    const StateDict start = model.state_dict();
    std::vector<Parameter> parameters = model.named_parameters();
    Update update{.adam = c.adam};
    for (int step = 0; step < c.steps; ++step) {
        const Tensor tokens = random_tokens({3, 11}, 17, static_cast<unsigned>(step) % 5);
        const Tensor targets = random_tokens({3, 11}, 17, 100 + static_cast<unsigned>(step) % 5);
        model.zero_grad();
        backward(cross_entropy(model.forward(tokens), targets));
        for (const auto& block : model.blocks) {
            expect_clones(block->attn, step);
            if (::testing::Test::HasFatalFailure()) return {};
        }
        update(parameters);
    }
    const StateDict end = model.state_dict();
    for (const auto& [name, tensor] : start) {
        if (name.ends_with("W_k.bias")) continue;  // its gradient is 0 but for rounding, mostly
        const bool unused = c.attention == AttentionKind::uniform &&
                            (name.find("W_q") != std::string::npos || name.find("W_k") != std::string::npos);
        EXPECT_EQ(distance(end.at(name), tensor) > 1e-3, !unused) << name;
    }
    return end;
}

class Clones : public ::testing::TestWithParam<Case> {};

TEST_P(Clones, StayClonesAndThreadsDoNotMatter) {
    const int before = num_threads();
    const StateDict one = trained(GetParam(), 1);
    for (const int threads : {2, 3}) {
        if (HasFatalFailure()) break;
        const StateDict more = trained(GetParam(), threads);
        if (HasFatalFailure()) break;
        for (const auto& [name, tensor] : one) EXPECT_TRUE(same_bits(more.at(name), tensor)) << name << ", " << threads;
    }
    set_num_threads(before);
}

INSTANTIATE_TEST_SUITE_P(Cases, Clones, ::testing::ValuesIn(cases), [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace headscope::nn
