// What the tests of probes share: small models with random weights of distinct sizes, and a context to measure in.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "autograd/graph.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/cross_entropy.h"
#include "autograd/random.h"
#include "experiments/probes/probe.h"
#include "experiments/tasks/micro_batches.h"

namespace headscope::experiments {

inline void fill_normal(Tensor tensor, const std::string& stream, double size = 1) {
    const RandomStream random(5, stream);
    Tensor values = Tensor::empty(tensor.shape(), DType::f64);
    for (std::int64_t i = 0; i < values.numel(); ++i)
        values.data<double>()[i] = size * random.normal(static_cast<std::uint64_t>(i));
    tensor.copy_(values.to(tensor.dtype()));
}

inline void fill_parameters(nn::Transformer& model, const std::string& stream, double size = 1) {
    for (const nn::Parameter& parameter : model.named_parameters())
        fill_normal(parameter.tensor, stream + parameter.name, size);
}

/// i64 [B, T], below `bound`.
inline Tensor random_tokens(std::int64_t B, std::int64_t T, std::int64_t bound, const std::string& stream) {
    const RandomStream random(6, stream);
    Tensor tokens = Tensor::empty({B, T}, DType::i64);
    for (std::int64_t i = 0; i < tokens.numel(); ++i)
        tokens.data<std::int64_t>()[i] =
            static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(bound), static_cast<std::uint64_t>(i)));
    return tokens;
}

/// Random tokens, some of the targets (a different number in each sequence) not scored, and two classes.
inline Batch random_batch(std::int64_t B, std::int64_t T, std::int64_t vocab_size, const std::string& stream) {
    Batch batch{random_tokens(B, T, vocab_size, stream + ".inputs"),
                random_tokens(B, T, vocab_size, stream + ".targets"),
                random_tokens(B, T, 2, stream + ".classes"),
                {}};
    for (std::int64_t b = 0; b < B; ++b)
        for (std::int64_t t = 0; t <= b % T; ++t) {
            batch.targets.data<std::int64_t>()[b * T + (2 * t + b) % T] = -1;
            batch.classes.data<std::int64_t>()[b * T + (2 * t + b) % T] = -1;
        }
    return batch;
}

/// Random data, with classes "a" and "b".
class RandomTask : public Task {
public:
    RandomTask(std::int64_t vocab_size, std::int64_t seq_len) : vocab_size_(vocab_size), seq_len_(seq_len) {}
    std::int64_t vocab_size() const override { return vocab_size_; }
    std::int64_t seq_len() const override { return seq_len_; }
    Batch train_batch(std::int64_t step, std::int64_t size) const override {
        return random_batch(size, seq_len_, vocab_size_, "train" + std::to_string(step));
    }
    std::int64_t eval_batches(std::int64_t) const override { return -1; }
    Batch eval_batch(std::int64_t index, std::int64_t size) const override {
        return random_batch(size, seq_len_, vocab_size_, "eval" + std::to_string(index));
    }
    std::vector<std::string> class_names() const override { return {"a", "b"}; }

private:
    std::int64_t vocab_size_, seq_len_;
};

/// 2 layers of 3 heads of 4 in a model of 10 (so H * head_dim != d_model), V = 7, up to 6 positions, attention only.
inline nn::TransformerOptions small_model(std::int64_t d_model = 10, std::int64_t head_dim = 4) {
    nn::TransformerOptions options;
    options.vocab_size = 7;
    options.max_len = 6;
    options.num_layers = 2;
    options.block.d_model = d_model;
    options.block.num_heads = 3;
    options.block.head_dim = head_dim;
    options.block.d_ff = 0;
    return options;
}

/// A model in the middle of a run: random weights, two evaluation batches (of 2 and 3 sequences), a training batch (of
/// 4, taken in 2 micro-batches) with its gradients, and weights before the update that are a little different.
class ProbeBench {
public:
    explicit ProbeBench(const nn::TransformerOptions& options, DType dtype = DType::f64,
                        const std::string& stream = "w.", double size = 0.5)
        : model(options),
          task(options.vocab_size, options.max_len),
          eval_batches{task.eval_batch(0, 2), task.eval_batch(1, 3)},
          batch(task.train_batch(step, 4)) {
        model.to(dtype);
        for (const nn::Parameter& parameter : model.named_parameters()) {
            Tensor old = Tensor::empty(parameter.tensor.shape(), dtype), change = old.clone();
            fill_normal(old, stream + parameter.name, size);
            fill_normal(change, stream + "change." + parameter.name, 0.01);
            before.push_back(old);
            Tensor(parameter.tensor).copy_(old + change);
        }
        compute_gradients();
    }

    /// Of the training batch's mean loss, as a step makes them.
    void compute_gradients() {
        model.zero_grad();
        std::int64_t part = 0;
        for (const MicroBatch& micro : split_batch(batch, micro_batches)) {
            const RandomScope random(seed, static_cast<std::uint64_t>(step * micro_batches + part++));
            const Tensor mean = cross_entropy(model.forward(micro.inputs), micro.targets);
            backward(mean, {.gradient = Tensor::full({}, micro.weight, mean.dtype())});
        }
    }

    ProbeSetup setup() const { return {model.options(), task.seq_len(), task.class_names()}; }
    ProbeContext context() {
        return {.model = model,
                .step = step,
                .seed = seed,
                .task = task,
                .eval_batches = eval_batches,
                .batch = &batch,
                .micro_batches = micro_batches,
                .before = [this](const Tensor& parameter) -> const Tensor& {
                    const auto parameters = model.named_parameters();
                    for (std::size_t i = 0; i < parameters.size(); ++i)
                        if (parameters[i].tensor.id() == parameter.id()) return before[i];
                    throw Error("before: no parameter of the model");
                }};
    }
    std::vector<double> measure(const std::string& probe) { return make_probe(probe)->measure(context()); }
    MetricSpec spec(const std::string& probe) const { return make_probe(probe)->spec(setup()); }

    static constexpr std::int64_t step = 3, seed = 11, micro_batches = 2;
    nn::Transformer model;
    RandomTask task;
    std::vector<Batch> eval_batches;
    Batch batch;
    std::vector<Tensor> before;  ///< of each parameter, in the order of model.named_parameters()
};

/// Attention weights [B, H, T, T] of every layer.
inline std::vector<Tensor> weights_on(nn::Transformer& model, const Batch& batch) {
    std::vector<Tensor> weights(model.blocks.size());
    std::vector<nn::Guest> guests;
    for (std::size_t layer = 0; layer < weights.size(); ++layer)
        guests.push_back(
            model.blocks[layer]->attn.weights.look([&weights, layer](const Tensor& seen) { weights[layer] = seen; }));
    model.forward(batch.inputs);
    return weights;
}

}  // namespace headscope::experiments
