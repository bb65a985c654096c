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

#include "experiments/tasks/generated.h"

namespace headscope::experiments {

namespace {

class RecallRule : public SequenceRule {
public:
    void fields(Fields& fields) override {
        fields.integer("vocab_size", vocab_size_, "different tokens: half keys, half values", {.min = 4, .max = 65536});
        fields.integer("seq_len", seq_len_, "tokens per sequence", {.min = 1, .max = 1 << 20});
        fields.integer("pairs", pairs_, "key-value pairs, each asked for once", {.min = 1, .max = 4096});
        fields.real("gap_exponent", gap_exponent_, "queries fall into slot g with probability ~ g^-gap_exponent",
                    {.min = 0, .max = 8});
    }

    std::vector<KeyProblem> check() const override {
        std::vector<KeyProblem> problems;
        if (pairs_ > keys())
            problems.push_back({"pairs", fmt::format("pairs = {} must not be more than vocab_size / 2 - 1 = {}, the "
                                                     "number of keys",
                                                     pairs_, keys())});
        if (4 * pairs_ > seq_len_)
            problems.push_back(
                {"seq_len", fmt::format("seq_len = {} must be at least 4 pairs = {}: two tokens for each "
                                        "pair and two for each query",
                                        seq_len_, 4 * pairs_)});
        return problems;
    }

    void prepare(std::uint64_t) override {
        for (std::int64_t g = 1; g <= (seq_len_ - 2 * pairs_) / 2; ++g)
            slot_weights_.push_back(std::pow(static_cast<double>(g), -gap_exponent_));
    }

    std::int64_t vocab_size() const override { return vocab_size_; }
    std::int64_t seq_len() const override { return seq_len_; }
    /// One for each token, then a key, a value and a slot for each pair.
    std::int64_t numbers() const override { return seq_len_ + 3 * pairs_; }

    void draw(const SequenceRandom& random, const Sequence& sequence) const override {
        const std::int64_t T = seq_len_;
        auto* x = sequence.inputs;
        for (std::int64_t t = 0; t < T; ++t) x[t] = random.below(vocab_size_, t);
        const auto keys_drawn = draw_distinct(pairs_, keys(), random, T);
        const auto values_drawn = draw_distinct(pairs_, values(), random, T + pairs_);
        std::vector<double> weights = slot_weights_;
        for (std::int64_t i = 0; i < pairs_; ++i) {
            x[2 * i] = 1 + keys_drawn[static_cast<std::size_t>(i)];
            x[2 * i + 1] = first_value() + values_drawn[static_cast<std::size_t>(i)];
            const std::int64_t query = 2 * pairs_ + 2 * take_slot(weights, random.uniform(T + 2 * pairs_ + i));
            x[query] = x[2 * i];
            sequence.targets[query] = x[2 * i + 1];
        }
    }

    /// Each target is certain, so the loss against targets has no label noise.
    bool knows_truth() const override { return false; }

    Lines lines() const override {
        return {{{"none", std::log(static_cast<double>(vocab_size_))},
                 {"values", std::log(static_cast<double>(values()))},
                 {"seen", std::log(static_cast<double>(pairs_))},
                 {"recall", 0}},
                {}};
    }

private:
    std::int64_t first_value() const { return vocab_size_ / 2; }
    std::int64_t keys() const { return first_value() - 1; }
    std::int64_t values() const { return vocab_size_ - first_value(); }

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

    std::int64_t vocab_size_ = 64;
    std::int64_t seq_len_ = 64;
    std::int64_t pairs_ = 8;
    double gap_exponent_ = 0.99;
    std::vector<double> slot_weights_;
};

const RegisterGenerated<RecallRule> registered_recall("recall", "key-value pairs, then keys as queries (MQAR)");

}  // namespace

}  // namespace headscope::experiments
