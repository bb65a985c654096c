// The same small model twice, with the fused and with the textbook attention,
// trained side by side from the same weights in f64. Where an optimizer works
// element by element the two runs agree; Muon looks at whole matrices, so it
// sees one W_q of all heads there and one per head here, and the runs part.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <random>

#include "autograd/graph.h"
#include "autograd/ops.h"
#include "autograd/parallel.h"
#include "nn/embedding.h"
#include "nn/layer_norm.h"
#include "nn/per_head_attention.h"
#include "optim/adam.h"
#include "optim/muon.h"
#include "optim/sgd.h"

namespace headscope::optim {
namespace {

constexpr std::int64_t vocab = 11, length = 6, d_model = 14, num_heads = 3, head_dim = 4, num_layers = 2;
constexpr int steps = 100;

Tensor random_tokens(unsigned seed) {
    std::mt19937_64 engine(seed);
    std::uniform_int_distribution<std::int64_t> token(0, vocab - 1);
    Tensor x = Tensor::empty({4, length}, DType::i64);
    for (std::int64_t i = 0; i < x.numel(); ++i) x.data<std::int64_t>()[i] = token(engine);
    return x;
}

/// Pre-norm, attention only: embedding -> two blocks -> norm -> head.
template <class Attention>
class Model : public nn::Module {
public:
    explicit Model(std::vector<std::unique_ptr<Attention>> attentions)
        : embedding_(vocab, d_model),
          position_(length, d_model),
          norm_(d_model),
          head_(d_model, vocab, false),
          attentions_(std::move(attentions)) {
        register_module("embedding", embedding_);
        register_module("position", position_);
        for (std::size_t l = 0; l < attentions_.size(); ++l) {
            norms_.push_back(std::make_unique<nn::LayerNorm>(d_model));
            register_module("blocks." + std::to_string(l) + ".norm1", *norms_[l]);
            register_module("blocks." + std::to_string(l) + ".attn", *attentions_[l]);
        }
        register_module("norm", norm_);
        register_module("head", head_);
    }

    Tensor forward(const Tensor& tokens) {
        const Tensor places = Tensor::from({length}, {0, 1, 2, 3, 4, 5}, DType::i64);
        Tensor x = embedding_.forward(tokens) + position_.forward(places);
        for (std::size_t l = 0; l < attentions_.size(); ++l) {
            const Tensor y = norms_[l]->forward(x);
            x = x + attentions_[l]->forward(y, y, y, Mask::causal(), false).output;
        }
        return head_.forward(norm_.forward(x));
    }

    std::vector<std::unique_ptr<Attention>>& attentions() { return attentions_; }

private:
    nn::Embedding embedding_, position_;
    nn::LayerNorm norm_;
    nn::Linear head_;
    std::vector<std::unique_ptr<nn::LayerNorm>> norms_;
    std::vector<std::unique_ptr<Attention>> attentions_;
};

using Fused = Model<nn::MultiHeadAttention>;
using PerHead = Model<nn::PerHeadAttention>;

std::unique_ptr<Fused> fused_model() {
    std::vector<std::unique_ptr<nn::MultiHeadAttention>> attentions;
    for (std::int64_t l = 0; l < num_layers; ++l)
        attentions.push_back(std::make_unique<nn::MultiHeadAttention>(
            d_model, num_heads, nn::AttentionModuleOptions{.head_dim = head_dim}));
    auto model = std::make_unique<Fused>(std::move(attentions));
    model->to(DType::f64);
    std::mt19937_64 engine(1);
    std::normal_distribution<double> normal(0, 0.2);
    for (NamedTensor& parameter : model->named_parameters())
        for (std::int64_t i = 0; i < parameter.tensor.numel(); ++i)
            parameter.tensor.data<double>()[i] += normal(engine);
    return model;
}

/// The same weights in the other form.
std::unique_ptr<PerHead> per_head_model(Fused& fused) {
    std::vector<std::unique_ptr<nn::PerHeadAttention>> attentions;
    for (const auto& attention : fused.attentions()) attentions.push_back(nn::to_per_head(*attention));
    auto model = std::make_unique<PerHead>(std::move(attentions));
    model->to(DType::f64);
    const nn::StateDict source = fused.state_dict();
    for (NamedTensor& parameter : model->named_parameters())
        if (source.contains(parameter.name)) parameter.tensor.copy_(source.at(parameter.name));
    return model;
}

/// Parameters by the fused form's names, so that the two forms can be compared.
nn::StateDict by_fused_names(PerHead& model) {
    nn::StateDict result = model.state_dict();
    for (std::size_t l = 0; l < model.attentions().size(); ++l) {
        const std::string path = "blocks." + std::to_string(l) + ".attn.";
        std::erase_if(result, [&](const auto& entry) { return entry.first.starts_with(path); });
        for (const auto& [name, value] : nn::from_per_head(*model.attentions()[l])->state_dict())
            result[path + name] = value;
    }
    return result;
}

struct Differences {
    double loss = 0, parameter = 0,
           learned = 0;  // the largest; `learned`: how far the weights went
    double first_loss = 0, last_loss = 0;
};

template <class MakeOptimizer>
Differences train_both(MakeOptimizer&& make) {
    set_num_threads(1);  // thousands of tiny ops; the number of threads has tests of its own
    const auto fused = fused_model();
    const auto per_head = per_head_model(*fused);
    const nn::StateDict start = fused->state_dict();
    const auto one = make(fused->named_parameters()), other = make(per_head->named_parameters());
    const auto step = [](auto& model, Optimizer& optimizer, unsigned batch) {
        optimizer.zero_grad();
        const Tensor loss = cross_entropy(model.forward(random_tokens(batch)), random_tokens(100 + batch));
        backward(loss);
        optimizer.step();
        return loss.item();
    };
    const auto distance = [](const Tensor& a, const Tensor& b) {
        double largest = 0;
        for (std::int64_t i = 0; i < a.numel(); ++i)
            largest = std::max(largest, std::abs(a.data<double>()[i] - b.data<double>()[i]));
        return largest;
    };
    Differences result;
    for (unsigned s = 0; s < steps; ++s) {
        const double a = step(*fused, *one, s % 3), b = step(*per_head, *other, s % 3);
        result.loss = std::max(result.loss, std::abs(a - b));
        if (s == 0) result.first_loss = a;
        result.last_loss = a;
    }
    const nn::StateDict ends = by_fused_names(*per_head);
    for (const auto& [name, value] : fused->state_dict()) {
        // Adding the same number to all scores of a query changes nothing, so the
        // gradient of W_k's bias is 0 but for rounding, and Adam blows rounding up.
        if (name.ends_with("W_k.bias")) continue;
        result.parameter = std::max(result.parameter, distance(value, ends.at(name)));
        result.learned = std::max(result.learned, distance(value, start.at(name)));
    }
    return result;
}

std::vector<ParameterGroup> group(std::vector<NamedTensor> parameters, double lr) {
    return {{.parameters = std::move(parameters), .lr = lr}};
}

void expect_same_run(const Differences& differences) {
    EXPECT_LE(differences.loss, 1e-12);
    EXPECT_LE(differences.parameter, 1e-12);
    EXPECT_LT(differences.last_loss, differences.first_loss - 0.3) << "there was little to compare";
    EXPECT_GT(differences.learned, 0.1);
}

TEST(FusedAndPerHead, TrainAlikeUnderSgd) {
    expect_same_run(train_both([](std::vector<NamedTensor> parameters) {
        return std::make_unique<Sgd>(group(std::move(parameters), 0.03), SgdOptions{.momentum = 0.9});
    }));
}

TEST(FusedAndPerHead, TrainAlikeUnderAdam) {
    expect_same_run(train_both([](std::vector<NamedTensor> parameters) {
        return std::make_unique<Adam>(group(std::move(parameters), 0.003));
    }));
}

TEST(FusedAndPerHead, PartUnderMuon) {
    const Differences differences = train_both(
        [](std::vector<NamedTensor> parameters) { return std::make_unique<Muon>(group(std::move(parameters), 0.01)); });
    EXPECT_GT(differences.loss, 1e-4);
    EXPECT_GT(differences.parameter, 1e-2);
}

}  // namespace
}  // namespace headscope::optim
