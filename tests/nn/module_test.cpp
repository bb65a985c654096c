#include "nn/module.h"

#include <ctime>

#include "nn/mlp.h"
#include "nn/transformer.h"
#include "tests/nn/random_tensors.h"

namespace headscope::nn {
namespace {

TransformerOptions small() {
    TransformerOptions options;
    options.vocab_size = 7;
    options.max_len = 5;
    options.num_layers = 2;
    options.block.d_model = 6;
    options.block.num_heads = 2;
    options.block.d_ff = 9;
    return options;
}

std::vector<std::string> names_of(const Module& module) {
    std::vector<std::string> names;
    for (const Parameter& parameter : module.named_parameters()) names.push_back(parameter.name);
    return names;
}

TEST(Module, NamesAndTheirOrder) {
    TransformerOptions options = small();
    options.num_layers = 1;
    const std::vector<std::string> expected{"embedding.weight",
                                            "position.weight",
                                            "blocks.0.norm1.weight",
                                            "blocks.0.norm1.bias",
                                            "blocks.0.attn.W_q.weight",
                                            "blocks.0.attn.W_q.bias",
                                            "blocks.0.attn.W_k.weight",
                                            "blocks.0.attn.W_k.bias",
                                            "blocks.0.attn.W_v.weight",
                                            "blocks.0.attn.W_v.bias",
                                            "blocks.0.attn.W_o.weight",
                                            "blocks.0.attn.W_o.bias",
                                            "blocks.0.norm2.weight",
                                            "blocks.0.norm2.bias",
                                            "blocks.0.ffn.linear1.weight",
                                            "blocks.0.ffn.linear1.bias",
                                            "blocks.0.ffn.linear2.weight",
                                            "blocks.0.ffn.linear2.bias",
                                            "norm.weight",
                                            "norm.bias",
                                            "head.weight"};
    EXPECT_EQ(names_of(Transformer(options)), expected);

    options.tie_embeddings = true;
    options.position = PositionEncoding::none;
    options.block.norm = NormPlacement::none;
    options.block.bias = false;
    const std::vector<std::string> bare{"embedding.weight",           "blocks.0.attn.W_q.weight",
                                        "blocks.0.attn.W_k.weight",   "blocks.0.attn.W_v.weight",
                                        "blocks.0.attn.W_o.weight",   "blocks.0.ffn.linear1.weight",
                                        "blocks.0.ffn.linear2.weight"};
    EXPECT_EQ(names_of(Transformer(options)), bare);
}

TEST(Module, NamedModulesStartWithItself) {
    Transformer model(small());
    const auto modules = model.named_modules();
    EXPECT_EQ(modules.front().first, "");
    EXPECT_EQ(modules.front().second, &model);
    bool found = false;
    for (const auto& [name, module] : modules)
        found |= name == "blocks.1.attn.W_o" && module == &model.blocks[1]->attn.W_o;
    EXPECT_TRUE(found);
}

TEST(Module, TrainReachesAllBelow) {
    Transformer model(small());
    for (const bool on : {false, true}) {
        model.train(on);
        for (const auto& [name, module] : model.named_modules()) EXPECT_EQ(module->is_training(), on) << name;
    }
}

TEST(Module, ToKeepsHandlesValid) {
    Transformer model(small());
    const std::vector<Parameter> handles = model.named_parameters();
    const StateDict before = model.state_dict();
    const Tensor tokens = random_tokens({2, 4}, 7, 1);
    backward(random_loss(model.forward(tokens), 2));
    ASSERT_TRUE(model.embedding.weight.grad().defined());

    model.to(DType::f64);
    for (const auto& [name, tensor, role] : handles) {
        EXPECT_EQ(tensor.dtype(), DType::f64) << name;
        EXPECT_FALSE(tensor.grad().defined()) << name;
        EXPECT_TRUE(tensor.requires_grad()) << name;
        EXPECT_TRUE(same_bits(tensor.to(DType::f32), before.at(name))) << name;
    }
    EXPECT_EQ(model.forward(tokens).dtype(), DType::f64);
    backward(random_loss(model.forward(tokens), 2));
    EXPECT_EQ(model.blocks[1]->attn.W_v.weight.grad().dtype(), DType::f64);
    EXPECT_HAS(error_of([&] { model.to(DType::i64); }), "int64");
}

TEST(Module, ZeroGrad) {
    Transformer model(small());
    backward(random_loss(model.forward(random_tokens({2, 4}, 7, 1)), 2));
    model.zero_grad();
    for (const auto& [name, tensor, role] : model.named_parameters()) EXPECT_EQ(largest(tensor.grad()), 0) << name;
}

TEST(Module, StateDictIsACopyAndLoads) {
    Transformer model(small()), other(small());
    randomise(model, 3);
    const StateDict state = model.state_dict();
    model.embedding.weight.fill_(0);
    EXPECT_GT(largest(state.at("embedding.weight")), 0);

    other.load_state_dict(state);
    EXPECT_TRUE(same_bits(other.embedding.weight, state.at("embedding.weight")));
    EXPECT_TRUE(
        same_bits(dynamic_cast<Mlp&>(*other.blocks[1]->ffn).linear2.bias, state.at("blocks.1.ffn.linear2.bias")));
    EXPECT_NE(other.embedding.weight.data<float>(), state.at("embedding.weight").data<float>());
}

TEST(Module, LoadReportsAllMisfitsAndChangesNothing) {
    Transformer model(small());
    const StateDict before = model.state_dict();
    StateDict wrong;
    for (const auto& [name, tensor] : before) wrong.emplace(name, random_tensor(tensor.shape(), 5));
    wrong.erase("head.weight");
    wrong.erase("blocks.1.norm2.bias");
    wrong["blocks.2.norm2.bias"] = Tensor::zeros({6});
    wrong["embedding.weight"] = Tensor::zeros({6, 7});
    wrong["norm.weight"] = Tensor::zeros({6}, DType::f64);
    wrong["norm.bias"] = Tensor();

    const std::string message = error_of([&] { model.load_state_dict(wrong); });
    EXPECT_HAS(message, "missing: blocks.1.norm2.bias [6] float32, head.weight [7, 6] float32");
    EXPECT_HAS(message, "unexpected: blocks.2.norm2.bias [6] float32");
    EXPECT_HAS(message, "embedding.weight is [6, 7] float32, the module has [7, 6] float32");
    EXPECT_HAS(message, "norm.weight is [6] float64, the module has [6] float32");
    EXPECT_HAS(message, "norm.bias is undefined");
    for (const auto& [name, tensor] : model.state_dict()) EXPECT_TRUE(same_bits(tensor, before.at(name))) << name;
}

TEST(Module, OneMisfitOfAnyKindIsEnough) {
    Transformer model(small());
    StateDict missing = model.state_dict(), unexpected = model.state_dict(), unfit = model.state_dict();
    missing.erase("norm.bias");
    unexpected["extra"] = Tensor::zeros({3});
    unfit["norm.bias"] = Tensor::zeros({1, 6});
    EXPECT_HAS(error_of([&] { model.load_state_dict(missing); }), "; missing: norm.bias [6] float32");
    EXPECT_HAS(error_of([&] { model.load_state_dict(unexpected); }), "; unexpected: extra [3] float32");
    EXPECT_HAS(error_of([&] { model.load_state_dict(unfit); }), "; mis-shaped: norm.bias is [1, 6] float32");
}

class Gate : public Module {
public:
    explicit Gate(const std::string& name) : weight_(register_parameter("weight", {3}, ParameterRole::scale)) {
        register_parameter(name, {2}, ParameterRole::bias);
    }
    void adopt(Module& child, const std::string& name) { register_module(name, child); }

private:
    Tensor weight_;
};

TEST(Module, NamesMustBeFreshAndWithoutDots) {
    EXPECT_EQ(names_of(Gate("bias")), (std::vector<std::string>{"weight", "bias"}));
    EXPECT_HAS(error_of([] { Gate twice("weight"); }), "\"weight\"");
    EXPECT_HAS(error_of([] { Gate dotted("a.b"); }), "dot");
    EXPECT_HAS(error_of([] { Gate unnamed(""); }), "empty");
    Gate parent("bias"), child("bias");
    EXPECT_HAS(error_of([&] { parent.adopt(child, "bias"); }), "taken");
    parent.adopt(child, "a.b");
    EXPECT_EQ(names_of(parent), (std::vector<std::string>{"weight", "bias", "a.b.weight", "a.b.bias"}));
    EXPECT_HAS(error_of([&] { parent.adopt(child, "a.b"); }), "taken");
}

class ManyParameters : public Module {
public:
    explicit ManyParameters(int count) {
        for (int i = 0; i < count; ++i)
            register_parameter("parameter" + std::to_string(i), Shape{1}, ParameterRole::matrix);
    }
};

/// Seconds of this thread that it takes to name and to load so many parameters.
double seconds_for(int count) {
    const std::clock_t begin = std::clock();
    ManyParameters module(count);
    module.load_state_dict(module.state_dict());
    return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
}

TEST(Module, TimeGrowsWithTheNumberOfParametersAndNotItsSquare) {
    const double few = seconds_for(5000), many = seconds_for(80000);
    EXPECT_LT(many, 60 * few + 0.2);  // 16 times as many; the square would be 256
}

}  // namespace
}  // namespace headscope::nn
