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
    for (nn::Parameter& parameter : model->named_parameters())
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
    for (nn::Parameter& parameter : model->named_parameters())
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

/// One update on one of three batches; the loss before it.
template <class AnyModel>
double train_step(AnyModel& model, Optimizer& optimizer, unsigned step) {
    const unsigned batch = step % 3;
    optimizer.zero_grad();
    const Tensor loss = cross_entropy(model.forward(random_tokens(batch)), random_tokens(100 + batch));
    backward(loss);
    optimizer.step();
    return loss.item();
}

/// The largest difference of a weight.
double distance(const nn::StateDict& a, const nn::StateDict& b) {
    double largest = 0;
    for (const auto& [name, x] : a) {
        // Adding the same number to all scores of a query changes nothing, so the
        // gradient of W_k's bias is 0 but for rounding, and Adam blows rounding up.
        if (name.ends_with("W_k.bias")) continue;
        const Tensor& y = b.at(name);
        for (std::int64_t i = 0; i < x.numel(); ++i)
            largest = std::max(largest, std::abs(x.data<double>()[i] - y.data<double>()[i]));
    }
    return largest;
}

template <class MakeOptimizer>
Differences train_both(MakeOptimizer&& make) {
    set_num_threads(1);  // thousands of tiny ops; the number of threads has tests of its own
    const auto fused = fused_model();
    const auto per_head = per_head_model(*fused);
    const nn::StateDict start = fused->state_dict();
    const auto one = make(fused->named_parameters()), other = make(per_head->named_parameters());
    Differences result;
    for (unsigned s = 0; s < steps; ++s) {
        const double a = train_step(*fused, *one, s), b = train_step(*per_head, *other, s);
        result.loss = std::max(result.loss, std::abs(a - b));
        if (s == 0) result.first_loss = a;
        result.last_loss = a;
    }
    result.parameter = distance(fused->state_dict(), by_fused_names(*per_head));
    result.learned = distance(fused->state_dict(), start);
    return result;
}

std::vector<ParameterGroup> group(std::vector<nn::Parameter> parameters, double lr) {
    return {{.parameters = std::move(parameters), .lr = lr}};
}

void expect_same_run(const Differences& differences) {
    EXPECT_LE(differences.loss, 1e-12);
    EXPECT_LE(differences.parameter, 1e-12);
    EXPECT_LT(differences.last_loss, differences.first_loss - 0.3) << "there was little to compare";
    EXPECT_GT(differences.learned, 0.1);
}

// The learning rates keep training out of chaos (see below), where any rounding grows past every bound.
TEST(FusedAndPerHead, TrainAlikeUnderSgd) {
    expect_same_run(train_both([](std::vector<nn::Parameter> parameters) {
        return std::make_unique<Sgd>(group(std::move(parameters), 0.02), SgdOptions{.momentum = 0.9});
    }));
}

TEST(FusedAndPerHead, TrainAlikeUnderAdam) {
    expect_same_run(train_both([](std::vector<nn::Parameter> parameters) {
        return std::make_unique<Adam>(group(std::move(parameters), 0.003));
    }));
}

/// The fused model with one element of a weight moved to the next number that f64 has, about 1e-16 of it away.
std::unique_ptr<Fused> nudged_model(const std::string& name) {
    auto model = fused_model();
    for (nn::Parameter& parameter : model->named_parameters()) {
        if (parameter.name != name) continue;
        double& element = parameter.tensor.data<double>()[5];
        element = std::nextafter(element, 1.0);
    }
    return model;
}

// At a larger learning rate training is chaotic: a difference grows about tenfold in six steps here, rounding
// included, and the two forms part. That they do so no faster than the fused form parts from itself, when a single
// weight starts one rounding error away, says that rounding is all the difference between them.
TEST(FusedAndPerHead, PartAtALargeLearningRateAsTheFusedFormDoesFromItself) {
    set_num_threads(1);
    const auto sgd = [](auto& model) {
        return std::make_unique<Sgd>(group(model.named_parameters(), 0.1), SgdOptions{.momentum = 0.9});
    };
    const auto fused = fused_model();
    const auto per_head = per_head_model(*fused);
    const auto one = sgd(*fused), other = sgd(*per_head);
    std::vector<std::unique_ptr<Fused>> nudged;
    std::vector<std::unique_ptr<Sgd>> nudged_optimizers;
    for (const char* name : {"blocks.0.attn.W_q.weight", "blocks.1.attn.W_o.weight", "head.weight"}) {
        nudged.push_back(nudged_model(name));
        nudged_optimizers.push_back(sgd(*nudged.back()));
        ASSERT_NE(distance(fused->state_dict(), nudged.back()->state_dict()), 0) << name;
    }
    for (unsigned s = 0; s < steps; ++s) {
        train_step(*fused, *one, s);
        train_step(*per_head, *other, s);
        for (std::size_t i = 0; i < nudged.size(); ++i) train_step(*nudged[i], *nudged_optimizers[i], s);
        if (s % 10 != 9) continue;
        const nn::StateDict now = fused->state_dict();
        const double forms = distance(now, by_fused_names(*per_head));
        if (s == 9) {
            EXPECT_LT(forms, 1e-14);
        }
        if (s == steps - 1) {
            EXPECT_GT(forms, 1e-6) << "no chaos, so nothing is shown";
        }
        double itself = 0;  // the largest of three: now and then rounding swallows most of a nudge
        for (const auto& model : nudged) itself = std::max(itself, distance(now, model->state_dict()));
        EXPECT_LT(forms, 20 * itself) << "after step " << s;
        EXPECT_LT(itself, 20 * forms) << "after step " << s;
    }
}

TEST(FusedAndPerHead, PartUnderMuon) {
    const Differences differences = train_both([](std::vector<nn::Parameter> parameters) {
        return std::make_unique<Muon>(group(std::move(parameters), 0.01));
    });
    EXPECT_GT(differences.loss, 1e-4);
    EXPECT_GT(differences.parameter, 1e-2);
}

}  // namespace
}  // namespace headscope::optim
