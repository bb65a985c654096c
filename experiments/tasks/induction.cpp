// Task `induction`: a block of random length, repeated; what follows a token is what followed it before.
//
// A start s is uniform over 0 .. max_start and a period p over min_period .. max_period. s + p distinct tokens of V, in
// random order, are the s tokens before the start and the block of p; the block repeats until the sequence is full. The
// target is the next token; the last position has none. As all tokens before the first repetition differ, a token seen
// before always means the block.
//
// Classes: `repeat` for positions t >= s + p, whose target is determined: the token has been seen before, and the
// target followed it. `first` for the others; the one before the first repetition, t = s + p - 1, is of them, since
// nothing shows that the block ends there. score = "repeat" scores only the first kind, "all" both.
//
// While no token has been seen twice, every (s, p) with s + p > t is as likely as it was at the start. Of the W(t) such
// pairs, one for each s with t + 1 - s a possible period says that the block ends here and x[s] follows; the other
// pairs give the V - t - 1 new tokens equal shares. This is the true distribution at `first`; H(t) is its entropy.
//
// Floors, as means over all targets that are scored (E over s and p; n = seq_len - 1 - s - p targets of class repeat):
//   none   ln V
//   block  guesses among the p tokens of the block where the target is determined:
//            score "repeat": E[n ln p] / E[n]     "all": E[H(0) + ... + H(s + p - 1) + n ln p] / (seq_len - 1)
//   copy   knows the rule: 0, and for "all" E[H(0) + ... + H(s + p - 1)] / (seq_len - 1)
// The task is that of the induction heads of Olsson et al. (2022, "In-context learning and induction heads"); random
// periods and starts keep a fixed lag from doing it, so it takes two layers.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "experiments/tasks/generated.h"

namespace headscope::experiments {

namespace {

enum InductionDetermined : std::int64_t { before_repeat, repeated };

/// What is known after t + 1 different tokens.
struct Unseen {
    double end;         ///< P(the block ends here and started at s), for each s that allows it
    double fresh;       ///< P(next token is v), for each token v not seen yet
    std::int64_t ends;  ///< how many s allow it
};

class InductionRule : public SequenceRule {
public:
    void fields(Fields& fields) override {
        fields.integer("vocab_size", vocab_size_, "different tokens", {.min = 2, .max = 4096});
        fields.integer("seq_len", seq_len_, "tokens per sequence", {.min = 1, .max = 1 << 20});
        fields.integer("min_period", min_period_, "shortest block", {.min = 1, .max = 4096});
        fields.integer("max_period", max_period_, "longest block", {.min = 1, .max = 4096});
        fields.integer("max_start", max_start_, "most tokens before the block", {.min = 0, .max = 4096});
        fields.choice("score", score_, {"repeat", "all"}, "score determined targets only, or all");
    }

    std::vector<KeyProblem> check() const override {
        std::vector<KeyProblem> problems;
        if (min_period_ > max_period_)
            problems.push_back({"min_period", fmt::format("min_period = {} must not be more than max_period = {}",
                                                          min_period_, max_period_)});
        if (most_distinct() > vocab_size_)
            problems.push_back({"vocab_size", fmt::format("vocab_size = {} must be at least max_start + max_period = "
                                                          "{}, since all tokens up to the block's end differ",
                                                          vocab_size_, most_distinct())});
        if (seq_len_ < most_distinct() + 2)
            problems.push_back({"seq_len", fmt::format("seq_len = {} must be at least max_start + max_period + 2 = {}, "
                                                       "or some sequences have no determined target",
                                                       seq_len_, most_distinct() + 2)});
        return problems;
    }

    std::int64_t vocab_size() const override { return vocab_size_; }
    std::int64_t seq_len() const override { return seq_len_; }
    std::vector<std::string> class_names() const override { return {"first", "repeat"}; }
    /// The start, the period, and one for each token that may be drawn.
    std::int64_t numbers() const override { return 2 + most_distinct(); }

    void draw(const SequenceRandom& random, const Sequence& sequence) const override {
        const auto [x, y, determined] = sequence;
        const std::int64_t start = random.below(max_start_ + 1, 0);
        const std::int64_t period = min_period_ + random.below(max_period_ - min_period_ + 1, 1);
        std::ranges::copy(draw_distinct(start + period, vocab_size_, random, 2), x);
        for (std::int64_t t = start + period; t < seq_len_; ++t) x[t] = x[t - period];
        for (std::int64_t t = 0; t + 1 < seq_len_; ++t) {
            determined[t] = t < start + period ? before_repeat : repeated;
            if (determined[t] == repeated || scores_all()) y[t] = x[t + 1];
        }
    }

    void true_distribution(const Sequence& sequence, double* truth) const override {
        SequenceRule::true_distribution(sequence, truth);
        const auto [x, y, determined] = sequence;
        for (std::int64_t t = 0; scores_all() && determined[t] == before_repeat; ++t) {
            double* p = truth + t * vocab_size_;
            const Unseen unseen = after_different_tokens(t);
            std::fill_n(p, vocab_size_, unseen.fresh);
            for (std::int64_t s = 0; s <= t; ++s) p[x[s]] = s <= max_start_ && is_period(t + 1 - s) ? unseen.end : 0;
        }
    }

    Lines lines() const override {
        // first_until[n] = H(0) + ... + H(n - 1), where those targets are scored.
        std::vector<double> first_until{0};
        for (std::int64_t t = 0; t < most_distinct(); ++t)
            first_until.push_back(first_until.back() + (scores_all() ? entropy_after_different_tokens(t) : 0.0));
        double scored = 0;   // targets, summed over all (s, p)
        double first = 0;    // entropy of those of class `first`
        double guesses = 0;  // loss of guessing among the block's tokens at the others
        for (std::int64_t s = 0; s <= max_start_; ++s) {
            for (std::int64_t p = min_period_; p <= max_period_; ++p) {
                const auto determined = static_cast<double>(seq_len_ - 1 - s - p);
                scored += scores_all() ? static_cast<double>(seq_len_ - 1) : determined;
                guesses += determined * std::log(static_cast<double>(p));
                first += first_until[static_cast<std::size_t>(s + p)];
            }
        }
        return {{{"none", std::log(static_cast<double>(vocab_size_))},
                 {"block", (first + guesses) / scored},
                 {"copy", first / scored}},
                {}};
    }

private:
    bool scores_all() const { return score_ == "all"; }
    std::int64_t most_distinct() const { return max_start_ + max_period_; }
    bool is_period(std::int64_t p) const { return min_period_ <= p && p <= max_period_; }

    Unseen after_different_tokens(std::int64_t t) const {
        std::int64_t pairs = 0;
        std::int64_t ends = 0;
        for (std::int64_t s = 0; s <= max_start_; ++s) {
            pairs += std::max<std::int64_t>(0, max_period_ - std::max(min_period_, t + 1 - s) + 1);
            if (is_period(t + 1 - s)) ++ends;
        }
        const double end = 1 / static_cast<double>(pairs);
        const std::int64_t fresh = vocab_size_ - t - 1;
        return {end, fresh > 0 ? static_cast<double>(pairs - ends) * end / static_cast<double>(fresh) : 0.0, ends};
    }

    /// H(t).
    double entropy_after_different_tokens(std::int64_t t) const {
        const Unseen p = after_different_tokens(t);
        return static_cast<double>(p.ends) * entropy_term(p.end) +
               static_cast<double>(vocab_size_ - t - 1) * entropy_term(p.fresh);
    }

    std::int64_t vocab_size_ = 64;
    std::int64_t seq_len_ = 64;
    std::int64_t min_period_ = 8;
    std::int64_t max_period_ = 24;
    std::int64_t max_start_ = 8;
    std::string score_ = "repeat";
};

const RegisterGenerated<InductionRule> registered_induction(
    "induction", "a block of random length, repeated: copy what followed before");

}  // namespace

}  // namespace headscope::experiments
