// Task `modular_addition`: a + b mod p from a part of its table (Power et al. 2022, "Grokking: generalization beyond
// overfitting on small algorithmic datasets").
//
// A sequence is a, b, "=" (token p); the target of the last position is (a + b) mod p, the other two are not scored.
// All p^2 ordered pairs are shuffled once by the seed. The first round(train_fraction p^2) of them train, the rest is
// held out, so the model meets (b, a) in training for some of the held-out (a, b).
//   training batch   pairs drawn from the training part with replacement; with full_batch the whole part, in order,
//                    which fixes the batch size
//   evaluation       the held-out part, each pair once, in the shuffled order; the last batch is what is left
//
// Floors:
//   none  ln p: knows at most one of the two numbers. Of the whole table; the held-out part alone has answers a little
//         less even, which a model that never saw it cannot use
//   sum   0: knows the rule
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "autograd/random.h"
#include "experiments/tasks/sampling.h"
#include "experiments/tasks/task.h"

namespace headscope::experiments {

namespace {

struct Rule {
    std::int64_t p = 97;
    double train_fraction = 0.5;
    bool full_batch = false;

    std::int64_t train_size() const { return std::llround(train_fraction * static_cast<double>(p * p)); }
};

class ModularAdditionTask : public Task {
public:
    ModularAdditionTask(const Rule& rule, std::uint64_t seed)
        : rule_(rule),
          seed_(seed),
          train_size_(rule.train_size()),
          pairs_(
              draw_distinct(rule.p * rule.p, rule.p * rule.p, {RandomStream(seed, "modular_addition.split"), 0}, 0)) {}

    std::int64_t vocab_size() const override { return rule_.p + 1; }
    std::int64_t seq_len() const override { return 3; }
    std::int64_t fixed_batch_size() const override { return rule_.full_batch ? train_size_ : 0; }

    Batch train_batch(std::int64_t step, std::int64_t batch_size) const override {
        const SequenceRandom random(RandomStream(seed_, "modular_addition.train", static_cast<std::uint64_t>(step)), 0);
        return make(batch_size, [&](std::int64_t b) { return rule_.full_batch ? b : random.below(train_size_, b); });
    }

    std::int64_t eval_batches(std::int64_t batch_size) const override {
        return (held_out() + batch_size - 1) / batch_size;
    }

    Batch eval_batch(std::int64_t index, std::int64_t batch_size) const override {
        const std::int64_t first = index * batch_size;
        Batch batch =
            make(std::min(batch_size, held_out() - first), [&](std::int64_t b) { return train_size_ + first + b; });
        batch.truth = Tensor::zeros({batch.targets.size(0), 3, vocab_size()}, DType::f64);
        const auto* y = batch.targets.data<std::int64_t>();
        for (std::int64_t i = 2; i < batch.targets.numel(); i += 3)
            batch.truth.data<double>()[i * vocab_size() + y[i]] = 1;
        return batch;
    }

    bool knows_truth() const override { return true; }
    std::vector<Floor> floors() const override {
        return {{"none", std::log(static_cast<double>(rule_.p))}, {"sum", 0}};
    }
    std::string best_floor() const override { return "sum"; }

    std::vector<std::string> vocabulary() const override {
        std::vector<std::string> names;
        for (std::int64_t a = 0; a < rule_.p; ++a) names.push_back(std::to_string(a));
        names.emplace_back("=");
        return names;
    }

private:
    std::int64_t held_out() const { return std::ssize(pairs_) - train_size_; }

    /// Inputs and targets [B,3] of the pairs at places place(0), place(1), ... of the shuffled table.
    template <class Place>
    Batch make(std::int64_t batch_size, Place&& place) const {
        const Shape shape{batch_size, 3};
        Batch batch{Tensor::empty(shape, DType::i64), Tensor::full(shape, -1, DType::i64), {}, {}};
        for (std::int64_t b = 0; b < batch_size; ++b) {
            const std::int64_t pair = pairs_[static_cast<std::size_t>(place(b))];
            const std::int64_t first = pair / rule_.p;
            const std::int64_t second = pair % rule_.p;
            auto* x = batch.inputs.data<std::int64_t>() + b * 3;
            x[0] = first;
            x[1] = second;
            x[2] = rule_.p;
            batch.targets.data<std::int64_t>()[b * 3 + 2] = (first + second) % rule_.p;
        }
        return batch;
    }

    Rule rule_;
    std::uint64_t seed_;
    std::int64_t train_size_;
    std::vector<std::int64_t> pairs_;  ///< a p + b, the training part first
};

class ModularAdditionSettings : public TaskSettings {
public:
    void fields(Fields& fields) override {
        fields.integer("p", rule_.p, "the modulus; numbers are 0 .. p-1", {.min = 2, .max = 2048});
        fields.real("train_fraction", rule_.train_fraction, "share of the p^2 pairs that trains; the rest is held out",
                    {.above = 0, .max = 1});
        fields.boolean("full_batch", rule_.full_batch, "every training batch is the whole training part");
    }

    std::vector<Problem> check() const override {
        if (rule_.train_size() > 0) return {};
        return {{"train_fraction", fmt::format("train_fraction = {} of {} pairs is none; give at least 1 / p^2",
                                               rule_.train_fraction, rule_.p * rule_.p)}};
    }

    std::unique_ptr<Task> build(std::uint64_t seed) const override {
        return std::make_unique<ModularAdditionTask>(rule_, seed);
    }

private:
    Rule rule_;
};

const RegisterType<TaskSettings> registered_modular_addition("modular_addition",
                                                             "a + b mod p, a part of the table held out", [] {
                                                                 return std::make_unique<ModularAdditionSettings>();
                                                             });

}  // namespace

}  // namespace headscope::experiments
