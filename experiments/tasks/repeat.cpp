// Task `repeat`: a random string, then the same string again.
//
// L = seq_len / 2 tokens, independent and uniform over V, fill the first half; the second half repeats them. The target
// is the next token; the last position has none. Classes name whether the target is determined: `first` for the L - 1
// targets in the first half, `repeat` for the L in the second. The lag is fixed, so one layer can do it: position t
// attends to t - L + 1.
//
// Floors:
//   none  ln V
//   copy  knows the rule: ln V for each target in the first half, 0 for the others, so (L - 1) ln V / (2L - 1)
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "experiments/tasks/generated.h"

namespace headscope::experiments {

namespace {

enum RepeatDetermined : std::int64_t { in_first_half, in_second_half };

class RepeatRule : public SequenceRule {
public:
    void fields(Fields& fields) override {
        fields.integer("vocab_size", vocab_size_, "different tokens", {.min = 2, .max = 4096});
        fields.integer("seq_len", seq_len_, "tokens per sequence: the string twice", {.min = 2, .max = 1 << 20});
    }

    std::vector<KeyProblem> check() const override {
        if (seq_len_ % 2 == 0) return {};
        return {{"seq_len", fmt::format("seq_len = {} must be even: a string and its repetition", seq_len_)}};
    }

    std::int64_t vocab_size() const override { return vocab_size_; }
    std::int64_t seq_len() const override { return seq_len_; }
    std::vector<std::string> class_names() const override { return {"first", "repeat"}; }
    std::int64_t numbers() const override { return length(); }

    void draw(const SequenceRandom& random, const Sequence& sequence) const override {
        const auto [x, y, determined] = sequence;
        for (std::int64_t t = 0; t < length(); ++t) x[t] = x[t + length()] = random.below(vocab_size_, t);
        for (std::int64_t t = 0; t + 1 < seq_len_; ++t) {
            y[t] = x[t + 1];
            determined[t] = t + 1 < length() ? in_first_half : in_second_half;
        }
    }

    void true_distribution(const Sequence& sequence, double* truth) const override {
        SequenceRule::true_distribution(sequence, truth);
        std::fill_n(truth, (length() - 1) * vocab_size_, 1 / static_cast<double>(vocab_size_));
    }

    Lines lines() const override {
        const double none = std::log(static_cast<double>(vocab_size_));
        const auto L = static_cast<double>(length());
        return {{{"none", none}, {"copy", (L - 1) * none / (2 * L - 1)}}, {}};
    }

private:
    std::int64_t length() const { return seq_len_ / 2; }

    std::int64_t vocab_size_ = 64;
    std::int64_t seq_len_ = 32;
};

const RegisterGenerated<RepeatRule> registered_repeat("repeat", "a random string, then the same string again");

}  // namespace

}  // namespace headscope::experiments
