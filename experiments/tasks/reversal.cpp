// Task `reversal`: a string, a separator, the string reversed; next token.
//
// A sequence is x_1 .. x_L, separator, x_L .. x_1 with the x independent and uniform over V = vocab_size symbols; the
// separator is token V. The model sees all but the last of these 2L + 1 tokens, so its input has 2L tokens, and each
// target is the next token. score = "reverse" scores the L targets of the second half only, "all" every target.
// Classes name what the target is: string, separator, reverse. What is known of a target: a symbol of the string is
// uniform, all else is determined.
//
// Floors, the mean over scored targets:
//   none      knows where the separator is, and nothing of the order: ln V for each of the other targets
//   reversal  reads the second half off the first: 0; with score = "all" the L - 1 targets in the string stay at ln V
#include <algorithm>
#include <cmath>

#include "experiments/tasks/generated.h"

namespace headscope::experiments {

namespace {

enum ReversalClass : std::int64_t { in_string, is_separator, in_reverse };

class ReversalRule : public SequenceRule {
public:
    void fields(Fields& fields) override {
        fields.integer("vocab_size", symbols_, "different symbols of the string; the separator is one token more",
                       {.min = 2, .max = 4096});
        fields.integer("length", length_, "symbols of the string; the model sees 2 length tokens",
                       {.min = 1, .max = 1 << 19});
        fields.choice("score", score_, {"reverse", "all"}, "score the second half only, or every next token");
    }

    std::int64_t vocab_size() const override { return symbols_ + 1; }
    std::int64_t seq_len() const override { return 2 * length_; }
    std::vector<std::string> class_names() const override { return {"string", "separator", "reverse"}; }
    std::int64_t numbers() const override { return length_; }

    void draw(const SequenceRandom& random, const Sequence& sequence) const override {
        const auto [x, y, kind] = sequence;
        for (std::int64_t t = 0; t < length_; ++t) x[t] = random.below(symbols_, t);
        x[length_] = symbols_;
        for (std::int64_t t = length_ + 1; t < seq_len(); ++t) x[t] = x[2 * length_ - t];
        for (std::int64_t t = scores_all() ? 0 : length_; t < seq_len(); ++t) {
            y[t] = t + 1 < seq_len() ? x[t + 1] : x[0];
            kind[t] = t < length_ - 1 ? in_string : t == length_ - 1 ? is_separator : in_reverse;
        }
    }

    void true_distribution(const Sequence& sequence, double* truth) const override {
        SequenceRule::true_distribution(sequence, truth);
        for (std::int64_t t = 0; t < seq_len(); ++t)
            if (sequence.classes[t] == in_string)
                std::fill_n(truth + t * vocab_size(), symbols_, 1 / static_cast<double>(symbols_));
    }

    Lines lines() const override {
        const auto length = static_cast<double>(length_);
        const double guess = std::log(static_cast<double>(symbols_));
        if (!scores_all()) return {{{"none", guess}, {"reversal", 0}}, {}};
        return {{{"none", (2 * length - 1) / (2 * length) * guess}, {"reversal", (length - 1) / (2 * length) * guess}},
                {}};
    }

private:
    bool scores_all() const { return score_ == "all"; }

    std::int64_t symbols_ = 16;
    std::int64_t length_ = 12;
    std::string score_ = "reverse";
};

const RegisterGenerated<ReversalRule> registered_reversal("reversal", "a string, a separator, the string reversed");

}  // namespace

}  // namespace headscope::experiments
