// Guests at the named points of a forward pass: those that look change no bit, those that edit are differentiated
// through, and none replaces another.
#include "nn/point.h"

#include <map>
#include <memory>
#include <set>

#include "autograd/gradcheck.h"
#include "autograd/parallel.h"
#include "autograd/random.h"
#include "nn/swiglu.h"
#include "nn/transformer.h"
#include "tests/nn/random_tensors.h"

namespace headscope::nn {
namespace {

/// A value [2, 3] on its way through a point.
const Tensor value = random_tensor({2, 3}, 5);

TEST(Point, GuestsComeAndGoOneByOne) {
    Point point("here");
    EXPECT_EQ(point.pass(value).id(), value.id());
    std::vector<std::string> calls;
    Guest doubling = point.edit([&](const Tensor& x) {
        calls.emplace_back("double");
        return x * 2;
    });
    Guest first_look = point.look([&](const Tensor& x) {
        calls.emplace_back("look");
        EXPECT_TRUE(same_bits(x, (value + 1) * 2));
    });
    Guest adding = point.edit(
        [&](const Tensor& x) {
            calls.emplace_back("add");
            return x + 1;
        },
        {.first = true});
    {
        const Guest second_look = point.look([&](const Tensor& x) { calls.push_back("look " + x.shape().str()); });
        EXPECT_TRUE(same_bits(point.pass(value), (value + 1) * 2));
        EXPECT_EQ(calls, (std::vector<std::string>{"add", "double", "look", "look [2, 3]"}));
    }
    first_look.leave();
    adding = Guest();
    calls.clear();
    EXPECT_TRUE(same_bits(point.pass(value), value * 2));
    EXPECT_EQ(calls, (std::vector<std::string>{"double"}));
    Guest moved = std::move(doubling);
    EXPECT_TRUE(point.has_edits());
    EXPECT_FALSE(point.has_looks());
    moved.leave();
    EXPECT_FALSE(point.has_guests());
    EXPECT_EQ(point.pass(value).id(), value.id());
}

TEST(Point, AGuestMayOutliveIt) {
    Guest guest;
    {
        Transformer model({.vocab_size = 5, .max_len = 4, .num_layers = 1, .block = {.d_model = 6, .num_heads = 2}});
        guest = model.point("blocks.0.attn.q").look([](const Tensor&) {});
    }
    guest.leave();
}

TEST(Point, AGuestMayLeaveDuringThePass) {
    Point point("here");
    Guest guest;
    int calls = 0;
    guest = point.look([&](const Tensor&) {
        ++calls;
        guest.leave();
    });
    point.pass(value);
    point.pass(value);
    EXPECT_EQ(calls, 1);
}

TEST(Point, AnEditMustKeepShapeAndType) {
    Point point("blocks.1.attn.q");
    const auto message = [&](EditFunction edit) {
        const Guest guest = point.edit(std::move(edit));
        return error_of([&] { point.pass(value); });
    };
    EXPECT_EQ(message([](const Tensor& x) { return slice(x, 1, 0, 2); }),
              "point blocks.1.attn.q: an edit must keep shape and dtype; it was given [2, 3] float32, it returned "
              "[2, 2] float32");
    EXPECT_HAS(message([](const Tensor& x) { return x.to(DType::f64); }), "it returned [2, 3] float64");
    EXPECT_HAS(message([](const Tensor&) { return Tensor(); }), "it returned none");
}

// --- the points of a model ---

/// Options by a name: every kind of attention, norm placement and position, with dropout where it is said so.
TransformerOptions options_of(const std::string& name) {
    TransformerOptions options;
    options.vocab_size = 11;
    options.max_len = 7;
    options.num_layers = 2;
    options.block = {.d_model = 14, .num_heads = 3, .head_dim = 6, .d_ff = 10};
    if (name == "dropout") options.block.dropout = 0.2;
    if (name == "post") options.block.norm = NormPlacement::post;
    if (name == "none") options.block.norm = NormPlacement::none;
    if (name == "rotary") options.position = PositionEncoding::rotary;
    if (name == "alibi") options.position = PositionEncoding::alibi;
    if (name == "linear") options.block.attention = AttentionKind::linear;
    if (name == "uniform") options.block.attention = AttentionKind::uniform;
    if (name == "groups") options.block.kv_heads = 2;
    if (name == "window") options.window = 3;
    if (name == "swiglu")
        options.block.make_ffn = [](const FeedForwardOptions& own) { return std::make_unique<SwiGlu>(own); };
    return options;
}

bool has_scores(const std::string& name) { return name != "linear" && name != "uniform"; }

std::vector<std::string> expected_points(const std::string& name) {
    std::vector<std::string> points{"embedded", "logits"};
    for (const std::string block : {"blocks.0.", "blocks.1."})
        for (const std::string point : {"input", "attn.q", "attn.k", "attn.v", "attn.scores", "attn.weights",
                                        "attn.heads", "attn.output", "middle", "ffn.hidden", "ffn.output", "output"})
            if (has_scores(name) || point != "attn.scores") points.push_back(block + point);
    return points;
}

struct Pass {
    Tensor logits, loss;
    std::vector<Tensor> gradients;
};

class Points : public testing::TestWithParam<std::string> {
protected:
    explicit Points(DType dtype = DType::f32) : model_(options_of(GetParam())) {
        model_.to(dtype);
        randomise(model_, 3, 0.4);
        batch_ = random_tokens({3, 7}, 11, 1);
        targets_ = random_tokens({3, 7}, 11, 2);
    }

    Pass pass() {
        for (const Parameter& parameter : model_.named_parameters()) Tensor(parameter.tensor).set_grad({});
        const RandomScope random(7, 3);
        const Tensor logits = model_.forward(batch_);
        const Tensor loss = cross_entropy(logits, targets_);
        backward(loss);
        Pass result{logits.detach(), loss.detach(), {}};
        for (const Parameter& parameter : model_.named_parameters()) {
            const Tensor& gradient = parameter.tensor.grad();
            result.gradients.push_back(gradient.defined() ? gradient.clone() : Tensor());
        }
        return result;
    }

    void expect_same(const Pass& a, const Pass& b) {
        EXPECT_TRUE(same_bits(a.logits, b.logits));
        EXPECT_TRUE(same_bits(a.loss, b.loss));
        const auto parameters = model_.named_parameters();
        for (std::size_t i = 0; i < parameters.size(); ++i) {
            ASSERT_EQ(a.gradients[i].defined(), b.gradients[i].defined()) << parameters[i].name;
            if (!a.gradients[i].defined()) continue;
            EXPECT_TRUE(same_bits(a.gradients[i], b.gradients[i])) << parameters[i].name;
        }
    }

    /// One look at every point.
    std::vector<Guest> look_everywhere(std::map<std::string, Tensor>& seen) {
        std::vector<Guest> guests;
        for (const std::string& name : expected_points(GetParam()))
            guests.push_back(model_.point(name).look([&seen, name](const Tensor& x) {
                EXPECT_FALSE(x.requires_grad());
                seen[name] = x.clone();
            }));
        return guests;
    }

    Transformer model_;
    Tensor batch_, targets_;
};

TEST_P(Points, HaveTheNamesOfTheContract) {
    std::set<std::string> names;
    for (const auto& [name, point] : model_.named_points()) names.insert(name);
    const std::vector<std::string> expected = expected_points("softmax");
    EXPECT_EQ(names, std::set<std::string>(expected.begin(), expected.end()));
}

TEST_P(Points, LookingChangesNoBit) {
    const Pass plain = pass();
    for (const int count : {1, 2, 3}) {
        const ThreadLimit limit(count);
        std::map<std::string, Tensor> seen, seen_too;
        {
            const std::vector<Guest> guests = look_everywhere(seen), others = look_everywhere(seen_too);
            expect_same(plain, pass());
        }
        EXPECT_EQ(seen.size(), expected_points(GetParam()).size());
        for (const auto& [name, x] : seen) EXPECT_TRUE(same_bits(x, seen_too.at(name))) << name;
        seen.clear();
        expect_same(plain, pass());
        EXPECT_TRUE(seen.empty());
    }
}

TEST_P(Points, AnEditThatReturnsWhatItWasGivenChangesNothingThatMatters) {
    const Pass plain = pass();
    for (const std::string& name : expected_points(GetParam())) {
        int calls = 0, hooks = 0;
        const Guest guest = model_.point(name).edit([&](const Tensor& x) {
            ++calls;
            Tensor y = x;
            if (y.requires_grad())
                y.register_hook([&hooks, shape = x.shape()](const Tensor& gradient) {
                    EXPECT_EQ(gradient.shape(), shape);
                    ++hooks;
                    return Tensor();
                });
            return y;
        });
        const Pass edited = pass();
        EXPECT_EQ(calls, 1) << name;
        EXPECT_EQ(hooks, GetParam() == "uniform" && (name.ends_with("weights")) ? hooks : 1) << name;
        EXPECT_LT(distance(edited.logits, plain.logits), 1e-4) << name;
        for (std::size_t i = 0; i < edited.gradients.size(); ++i)
            if (edited.gradients[i].defined()) {
                EXPECT_LT(distance(edited.gradients[i], plain.gradients[i]), 1e-4) << name << ", " << i;
            }
    }
}

/// What the looks show fits together: each value follows from those before it.
TEST_P(Points, ShowTheValuesOfThePass) {
    if (GetParam() == "dropout") model_.eval();
    std::map<std::string, Tensor> seen;
    const std::vector<Guest> guests = look_everywhere(seen);
    const NoGrad no_grad;
    const Tensor logits = model_.forward(batch_);
    EXPECT_TRUE(same_bits(seen.at("logits"), logits));
    const auto near = [](const Tensor& a, const Tensor& b) { return distance(a, b) < 2e-5; };
    for (std::size_t l = 0; l < 2; ++l) {
        const std::string block = "blocks." + std::to_string(l) + ".";
        const TransformerBlock& own = *model_.blocks[l];
        EXPECT_TRUE(same_bits(seen.at(block + "input"), seen.at(l == 0 ? "embedded" : "blocks.0.output")));
        EXPECT_EQ(seen.at(block + "attn.k").shape().str(), "[3, 7, 18]");
        if (has_scores(GetParam())) {
            EXPECT_TRUE(near(seen.at(block + "attn.scores"),
                             attention_scores(seen.at(block + "attn.q"), seen.at(block + "attn.k"), 3)));
        }
        AttentionOptions options;
        options.num_heads = 3;
        EXPECT_TRUE(near(seen.at(block + "attn.heads"),
                         apply_weights(seen.at(block + "attn.weights"), seen.at(block + "attn.v"), options)));
        EXPECT_TRUE(near(seen.at(block + "attn.output"), own.attn.W_o.forward(seen.at(block + "attn.heads"))));
        EXPECT_TRUE(near(seen.at(block + "middle"), seen.at(block + "input") + seen.at(block + "attn.output")));
        EXPECT_EQ(seen.at(block + "ffn.hidden").shape().str(), "[3, 7, 10]");
        const Tensor& middle = seen.at(block + "middle");
        const Tensor sum = (GetParam() == "post" ? own.norm1->forward(middle) : middle) + seen.at(block + "ffn.output");
        EXPECT_TRUE(near(seen.at(block + "output"), GetParam() == "post" ? own.norm2->forward(sum) : sum));
    }
}

INSTANTIATE_TEST_SUITE_P(Model, Points,
                         testing::Values("softmax", "dropout", "post", "none", "rotary", "alibi", "linear", "uniform",
                                         "groups", "window", "swiglu"),
                         [](const auto& info) { return info.param; });

/// At every point of a small model in f64: an edit that depends on the value, gradchecked through the whole model.
TEST(PointsOfAModel, EditsAreDifferentiatedThrough) {
    for (const std::string name : {"softmax", "linear", "swiglu", "groups", "post"}) {
        TransformerOptions options = options_of(name);
        options.vocab_size = 5;
        options.max_len = 3;
        options.num_layers = 1;
        options.block.d_model = 4;
        options.block.num_heads = name == "groups" ? 3 : 2;
        options.block.head_dim = 2;
        options.block.d_ff = 3;
        Transformer model(options);
        model.to(DType::f64);
        randomise(model, 3);
        const Tensor tokens = random_tokens({2, 3}, 5, 1), targets = random_tokens({2, 3}, 5, 2);
        for (const auto& [path, point] : model.named_points()) {
            if (path.ends_with("scores") && name == "linear") continue;
            const Guest guest = point->edit([](const Tensor& x) { return mul(x, tanh(x + 0.3)); });
            std::vector<Tensor> inputs;
            for (const Parameter& parameter : model.named_parameters()) inputs.push_back(parameter.tensor);
            const GradcheckResult result = gradcheck(
                [&](const std::vector<Tensor>&) { return std::vector{cross_entropy(model.forward(tokens), targets)}; },
                inputs);
            EXPECT_TRUE(result.ok) << name << " " << path << ": " << result.message;
        }
    }
}

TEST(PointsOfAModel, AnEditOfAValueIsWhatTheRestIsGiven) {
    Transformer model(options_of("softmax"));
    randomise(model, 3);
    model.eval();
    const Tensor tokens = random_tokens({3, 7}, 11, 1);
    const NoGrad no_grad;
    // Weights that look at the query's own place alone make the heads' outputs v.
    Tensor own = Tensor::zeros({3, 3, 7, 7});
    for (std::int64_t row = 0; row < 63; ++row) own.data<float>()[row * 7 + row % 7] = 1;
    Tensor v, heads;
    Guest clamp = model.point("blocks.1.attn.weights").edit([&](const Tensor&) { return own; });
    const Guest look_v = model.point("blocks.1.attn.v").look([&](const Tensor& x) { v = x; });
    const Guest look_heads = model.point("blocks.1.attn.heads").look([&](const Tensor& x) { heads = x; });
    model.forward(tokens);
    EXPECT_LT(distance(v, heads), 1e-6);
    // Scores: a shift of a whole row changes nothing, a scale does.
    clamp.leave();
    Tensor weights;
    const Guest look_weights = model.point("blocks.0.attn.weights").look([&](const Tensor& x) { weights = x; });
    model.forward(tokens);
    const Tensor plain = weights.clone();
    {
        const Guest shift = model.point("blocks.0.attn.scores").edit([](const Tensor& s) { return s + 3; });
        model.forward(tokens);
        EXPECT_LT(distance(weights, plain), 1e-5);
    }
    const Guest sharpen = model.point("blocks.0.attn.scores").edit([](const Tensor& s) { return s * 3; });
    model.forward(tokens);
    EXPECT_GT(distance(weights, plain), 1e-2);
}

TEST(PointsOfAModel, WhatAnAttentionDoesNotHaveIsRefused) {
    for (const std::string name : {"linear", "uniform"}) {
        Transformer model(options_of(name));
        const Guest guest = model.point("blocks.1.attn.scores").look([](const Tensor&) {});
        EXPECT_EQ(error_of([&] {
                      model.forward(random_tokens({1, 4}, 11, 1));
                  }),
                  "point blocks.1.attn.scores: the chosen attention has no scores to look at or to change");
    }
    TransformerOptions options = options_of("softmax");
    options.block.custom_attention = [](const Tensor& q, const Tensor& k, const Tensor& v,
                                        const AttentionOptions& own) { return attention(q, k, v, own); };
    Transformer model(options);
    {
        const Guest look = model.point("blocks.0.attn.weights").look([](const Tensor&) {});
        model.forward(random_tokens({1, 4}, 11, 1));
    }
    const Guest edit = model.point("blocks.0.attn.weights").edit([](const Tensor& x) { return x; });
    EXPECT_HAS(error_of([&] { model.forward(random_tokens({1, 4}, 11, 1)); }), "cannot be changed from outside");
    EXPECT_HAS(error_of([&] { model.point("blocks.0.atn.q"); }),
               "there is no point blocks.0.atn.q; there are embedded");
}

}  // namespace
}  // namespace headscope::nn
