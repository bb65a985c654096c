// Task `recall`: multi-query associative recall (MQAR; Arora et al. 2023, "Zoology: measuring and improving recall in
// efficient language models").
//
// Keys are the tokens 1 .. V/2 - 1, values V/2 .. V - 1. A sequence begins with `pairs` key-value
// pairs, all keys different and all values different. The rest is cut into slots of two tokens; each key comes once
// more, as a query at the beginning of a slot, and its target is its value. Slots are drawn for one key after the
// other, slot g = 1, 2, ... with a probability proportional to g^-gap_exponent among the slots still free. All other
// places hold tokens drawn uniformly over V. Only answers are scored.
//
// Floors:
//   none    ln V
//   values  knows which tokens are values: ln (V - V/2)
//   seen    guesses among the values seen: ln pairs
//   recall  knows the rule: 0
#include <fmt/format.h>

#include <cmath>
#include <cstddef>
#include <numeric>

#include "autograd/random.h"
#include "experiments/tasks/sampling.h"
#include "experiments/tasks/task.h"

namespace headscope {

namespace {

struct Rule {
    std::int64_t vocab_size = 64;
    std::int64_t seq_len = 64;
    std::int64_t pairs = 8;
    double gap_exponent = 0.99;

    std::int64_t keys() const { return vocab_size / 2 - 1; }
    std::int64_t first_value() const { return vocab_size / 2; }
    std::int64_t values() const { return vocab_size - first_value(); }
    std::int64_t slots() const { return (seq_len - 2 * pairs) / 2; }
};

class RecallTask : public Task {
public:
    RecallTask(const Rule& rule, std::uint64_t seed) : rule_(rule), seed_(seed) {
        for (std::int64_t g = 1; g <= rule.slots(); ++g)
            slot_weights_.push_back(std::pow(static_cast<double>(g), -rule.gap_exponent));
    }

    std::int64_t vocab_size() const override { return rule_.vocab_size; }
    std::int64_t seq_len() const override { return rule_.seq_len; }

    Batch train_batch(std::int64_t step, std::int64_t batch_size) const override {
        return draw(RandomStream(seed_, "recall.train", static_cast<std::uint64_t>(step)), batch_size);
    }

    std::int64_t eval_batches(std::int64_t) const override { return -1; }

    /// Without Batch::truth: each target is certain, so the loss against targets has no label noise.
    Batch eval_batch(std::int64_t index, std::int64_t batch_size) const override {
        return draw(RandomStream(seed_, "recall.eval", static_cast<std::uint64_t>(index)), batch_size);
    }

    std::vector<Floor> floors() const override {
        return {{"none", std::log(static_cast<double>(rule_.vocab_size))},
                {"values", std::log(static_cast<double>(rule_.values()))},
                {"seen", std::log(static_cast<double>(rule_.pairs))},
                {"recall", 0}};
    }

    std::string best_floor() const override { return "recall"; }

private:
    /// Inputs and targets, each [B,T]. Row b depends on (seed, stream, step, b) and not on the batch's size.
    Batch draw(const RandomStream& random, std::int64_t batch_size) const {
        const std::int64_t T = rule_.seq_len;
        const std::int64_t pairs = rule_.pairs;
        const Shape shape{batch_size, T};
        Batch batch{Tensor::empty(shape, DType::i64), Tensor::full(shape, -1, DType::i64), {}, {}};
        for (std::int64_t b = 0; b < batch_size; ++b) {
            auto* x = batch.inputs.data<std::int64_t>() + b * T;
            auto* y = batch.targets.data<std::int64_t>() + b * T;
            // Numbers of a row: one for each token, then a key, a value and a slot for each pair.
            const auto number = [&](std::int64_t i) { return static_cast<std::uint64_t>(b * (T + 3 * pairs) + i); };
            for (std::int64_t t = 0; t < T; ++t)
                x[t] = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(rule_.vocab_size), number(t)));
            const auto keys = draw_distinct(pairs, rule_.keys(), random, number(T));
            const auto values = draw_distinct(pairs, rule_.values(), random, number(T + pairs));
            std::vector<double> weights = slot_weights_;
            for (std::int64_t i = 0; i < pairs; ++i) {
                const auto pair = static_cast<std::size_t>(i);
                x[2 * i] = 1 + keys[pair];
                x[2 * i + 1] = rule_.first_value() + values[pair];
                const std::int64_t query =
                    2 * pairs + 2 * take_slot(weights, random.uniform(number(T + 2 * pairs + i)));
                x[query] = x[2 * i];
                y[query] = x[2 * i + 1];
            }
        }
        return batch;
    }

    /// The slot at the share u in [0, 1) of all weight; its own becomes 0.
    static std::int64_t take_slot(std::vector<double>& weights, double u) {
        double rest = u * std::accumulate(weights.begin(), weights.end(), 0.0);
        std::size_t slot = 0;
        for (std::size_t i = 0; i < weights.size(); ++i) {
            if (weights[i] == 0) continue;
            slot = i;  // the last free one if rounding leaves a rest
            if (rest < weights[i]) break;
            rest -= weights[i];
        }
        weights[slot] = 0;
        return static_cast<std::int64_t>(slot);
    }

    Rule rule_;
    std::uint64_t seed_;
    std::vector<double> slot_weights_;
};

class RecallSettings : public TaskSettings {
public:
    void fields(Fields& fields) override {
        fields.integer("vocab_size", rule_.vocab_size, "different tokens: half keys, half values",
                       {.min = 4, .max = 65536});
        fields.integer("seq_len", rule_.seq_len, "tokens per sequence", {.min = 1, .max = 1 << 20});
        fields.integer("pairs", rule_.pairs, "key-value pairs, each asked for once", {.min = 1, .max = 4096});
        fields.real("gap_exponent", rule_.gap_exponent, "queries fall into slot g with probability ~ g^-gap_exponent",
                    {.min = 0, .max = 8});
    }

    std::vector<Problem> check() const override {
        std::vector<Problem> problems;
        if (rule_.pairs > rule_.keys())
            problems.push_back({"pairs", fmt::format("pairs = {} must not be more than vocab_size / 2 - 1 = {}, the "
                                                     "number of keys",
                                                     rule_.pairs, rule_.keys())});
        if (4 * rule_.pairs > rule_.seq_len)
            problems.push_back(
                {"seq_len", fmt::format("seq_len = {} must be at least 4 pairs = {}: two tokens for each "
                                        "pair and two for each query",
                                        rule_.seq_len, 4 * rule_.pairs)});
        return problems;
    }

    std::unique_ptr<Task> build(std::uint64_t seed) const override { return std::make_unique<RecallTask>(rule_, seed); }

private:
    Rule rule_;
};

const RegisterTask registered("recall", "key-value pairs, then keys as queries (MQAR)",
                              [] { return std::make_unique<RecallSettings>(); });

}  // namespace

}  // namespace headscope
